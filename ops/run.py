"""Recorded or simulated runs through every role, to the end: what `agentracer run` and `agentracer demo` do.

Rules: sending and looking go on side by side; it is over when everything acknowledged is in the store and every
traced run has its verdict; when nothing moves for a while it ends with what is missing, and an error.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console
from rich.live import Live

from ops.client import publish
from ops.pipeline import Pipeline
from ops.progress import Progress, look
from ops.query import connect
from ops.send import Ledger, Outgoing
from schemas.errors import AgentracerError
from streams.migrate import Client

FAST = {
    "AGENTRACER_CHECKPOINT_MS": "250",
    "AGENTRACER_FETCH_WAIT_MS": "100",
    "AGENTRACER_LIMITS__IDLE_MS": "5000",
    "AGENTRACER_LIMITS__GRACE_MS": "1500",
    "AGENTRACER_SINK_FLUSH_MS": "200",
    "AGENTRACER_POLL_MS": "100",
}
"""For a pipeline that serves one call: what is not ended by its sender ends soon."""
_LOOK_EVERY_S = 0.4
_STALLED_S = 60.0


class Counts(NamedTuple):
    """What is shown while it runs."""

    sent: int
    stored: int
    trajectories: int
    traced: int
    verdicts: int


class Display:
    """The counts as one line that stays up to date, on standard error."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._started = time.monotonic()

    def note(self, text: str) -> None:
        """Show what is being started."""
        self._live.update(f"{self._seconds():>4.0f} s  {text}")

    def __call__(self, counts: Counts) -> None:
        """Show how far it is."""
        self._live.update(
            f"{self._seconds():>4.0f} s  {counts.sent:,} events sent · {counts.stored:,} steps stored · "
            f"{counts.trajectories:,} trajectories · {counts.verdicts:,} of {counts.traced:,} verdicts"
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._started


@contextmanager
def following(console: Console) -> Iterator[Display]:
    """Show progress while a block runs."""
    with Live(console=console, transient=not console.is_terminal, refresh_per_second=4) as live:
        yield Display(live)


@dataclass(frozen=True)
class Report:
    """What came of it; the JSON of `run` and `demo`."""

    trajectories: int
    failed: int
    verdicts: int
    steps: int
    dead_letters: int
    lost: int
    duplicates: int
    seconds: float
    added: int
    """Steps that were sent now, rather than being in the store already."""


@dataclass(frozen=True)
class Sending:
    """How events are sent."""

    rate: float | None = None
    ndjson: int = 1


def send_and_follow(
    pipeline: Pipeline,
    events: Iterable[Outgoing],
    sending: Sending,
    ledger: Ledger,
    on_counts: Callable[[Counts], None],
) -> Progress:
    """Send everything, enter it in the ledger, follow it to its end, and return what the store holds of it."""
    with connect(pipeline.clickhouse) as client, ThreadPoolExecutor(1) as sender:
        work = sender.submit(_publish, pipeline, events, sending, ledger)
        return _follow(pipeline, client, ledger, work, on_counts)


def _publish(pipeline: Pipeline, events: Iterable[Outgoing], sending: Sending, ledger: Ledger) -> None:
    asyncio.run(
        publish(
            pipeline.bootstrap,
            events,
            rate=sending.rate,
            ndjson=sending.ndjson,
            idempotent=not pipeline.is_embedded,
            ledger=ledger,
        )
    )


def _follow(
    pipeline: Pipeline, client: Client, ledger: Ledger, work: Future[None], on_counts: Callable[[Counts], None]
) -> Progress:
    last, moved_at, is_sent = None, time.monotonic(), False
    while True:
        pipeline.check()
        is_sent = work.done()
        if is_sent:
            work.result()
        progress = look(client, ledger)
        counts = Counts(ledger.acknowledged, progress.stored, len(progress.runs), progress.traced, progress.verdicts)
        on_counts(counts)
        if is_sent and progress.is_done and counts == last:
            return progress
        if counts != last:
            last, moved_at = counts, time.monotonic()
        elif time.monotonic() - moved_at > _STALLED_S:
            raise AgentracerError(_stalled(progress))
        time.sleep(_LOOK_EVERY_S)


def _stalled(progress: Progress) -> str:
    some = ", ".join(f"{one}/{event}" for one, event in sorted(progress.missing)[:5])
    waiting = progress.traced - progress.verdicts
    return (
        f"nothing moved for {_STALLED_S:.0f} s: {len(progress.missing)} events are missing ({some or 'none'}) and "
        f"{waiting} verdicts; the workers' logs say why"
    )


def report(ledger: Ledger, progress: Progress, seconds: float, already: int = 0) -> Report:
    """Sum it up."""
    return Report(
        trajectories=len({run.trajectory_id for run in progress.runs}),
        failed=progress.failed,
        verdicts=progress.verdicts,
        steps=progress.stored,
        dead_letters=progress.refused,
        lost=len(progress.missing),
        duplicates=progress.duplicates,
        seconds=round(seconds, 1),
        added=len(ledger.steps) - already,
    )
