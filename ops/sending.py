"""Publishing with a progress display, for `agentracer send`."""

import asyncio
from collections.abc import Iterable

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ops.client import publish
from ops.send import Ledger, Outgoing


def send_showing(
    broker: str, events: Iterable[Outgoing], ledger: Ledger, rate: float | None, ndjson: int, console: Console
) -> Ledger:
    """Publish, showing how many events were acknowledged; Ctrl-C ends a loop."""
    columns = (SpinnerColumn(), TextColumn("sending"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as display:
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
    return ledger
