"""Publishing with a progress display, for `agentracer send`."""

import asyncio
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ops.client import publish
from ops.send import Ledger, Outgoing, Refusal
from schemas.errors import AgentracerError


def send_showing(
    broker: str, events: Iterable[Outgoing], ledger: Ledger, rate: float | None, ndjson: int, console: Console
) -> bool:
    """Publish, showing how many events were acknowledged; False when Ctrl-C ended it."""
    columns = (SpinnerColumn(), TextColumn("sending"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        task = display.add_task("sending", total=None)
        try:
            asyncio.run(
                publish(
                    broker,
                    events,
                    rate=rate,
                    ndjson=ndjson,
                    idempotent=False,
                    ledger=ledger,
                    on_progress=lambda count: display.update(task, completed=count),
                )
            )
        except KeyboardInterrupt:
            console.print("interrupted")
            return False
    return True


def raise_refused(refused: Sequence[Refusal]) -> None:
    """Raise when there are events that the broker would not take: nobody else has them."""
    if refused:
        first = refused[0]
        raise AgentracerError(f"{len(refused)} events were refused, {first.event_id!r} first: {first.reason}")
