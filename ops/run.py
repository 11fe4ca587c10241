"""Recorded or simulated runs through every role, to the end: what `agentracer run` and `agentracer demo` do.

Rules: sending and looking go on side by side; it is over when everything acknowledged is in the store, late outcomes
too, and every traced run has its verdict; when all is sent and nothing moves for a while it ends with what is missing,
and an error; whatever ends it ends the sending as well.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from rich.console import Console
from rich.live import Live

from ops.client import publish
from ops.pipeline import Pipeline
from ops.progress import Progress, look
from ops.query import VerdictLine, connect, verdicts
from ops.send import EventId, Ledger, Outgoing
from schemas.errors import AgentracerError, StoreUnavailableError
from schemas.wire import Line, read_line
from streams.migrate import Client
from streams.rows import milliseconds

FAST = {
    "AGENTRACER_CHECKPOINT_MS": "250",
    "AGENTRACER_FETCH_WAIT_MS": "100",
    "AGENTRACER_LIMITS__IDLE_MS": "5000",
    "AGENTRACER_LIMITS__GRACE_MS": "1500",
    "AGENTRACER_SINK_FLUSH_MS": "200",
    "AGENTRACER_POLL_MS": "100",
}
"""For a pipeline that serves one call: what is not ended by its sender ends soon."""
STALLED_S = 60.0
_LOOK_EVERY_S = 0.4
_CLOCKS_APART = timedelta(minutes=10)


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
    *,
    stalled_s: float = STALLED_S,
) -> Progress:
    """Send everything, enter it in the ledger, follow it to its end, and return what the store holds of it."""
    decided: dict[EventId, int] = {}
    try:
        with (
            connect(pipeline.clickhouse) as client,
            _beside(_publish(pipeline, _noting(events, decided), sending, ledger)) as work,
        ):
            return _follow(pipeline, client, _Sent(ledger, decided, work), on_counts, stalled_s)
    except StoreUnavailableError:
        pipeline.check()  # if the store was started here, this says why it is away
        raise


def _noting(events: Iterable[Outgoing], decided: dict[EventId, int]) -> Iterator[Outgoing]:
    """Pass events on, and note when each outcome among them was decided."""
    for event in events:
        line = read_line(event.value) if event.kind == "outcome" else None
        if isinstance(line, Line):
            decided[line.event.trajectory_id, line.event.event_id] = milliseconds(line.event.time)
        yield event


async def _publish(pipeline: Pipeline, events: Iterable[Outgoing], sending: Sending, ledger: Ledger) -> None:
    await publish(
        pipeline.bootstrap,
        events,
        rate=sending.rate,
        ndjson=sending.ndjson,
        idempotent=not pipeline.is_embedded,
        ledger=ledger,
    )


@contextmanager
def _beside(work: Coroutine[Any, Any, None]) -> Iterator[Future[None]]:
    """Work in a thread of its own while a block runs; what isn't done when the block ends is cancelled."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)

    def finish() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_result(task))

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(finish)
        try:
            yield done
        finally:
            with suppress(RuntimeError):  # the loop is closed: it was done
                loop.call_soon_threadsafe(task.cancel)


async def _result(task: asyncio.Task[None]) -> None:
    await task


class _Sent(NamedTuple):
    """What is being sent, and what is known of it."""

    ledger: Ledger
    decided: dict[EventId, int]
    work: Future[None]

    def look(self, client: Client) -> tuple[Counts, Progress]:
        """Hold it against the store."""
        progress = look(client, self.ledger, self.decided)
        stored, runs = progress.stored, len(progress.runs)
        return Counts(self.ledger.acknowledged, stored, runs, progress.traced, progress.verdicts), progress


def _follow(
    pipeline: Pipeline, client: Client, sent: _Sent, on_counts: Callable[[Counts], None], stalled_s: float
) -> Progress:
    last, moved_at = None, time.monotonic()
    while True:
        pipeline.check()
        is_sent = sent.work.done()
        if is_sent:
            sent.work.result()
        counts, progress = sent.look(client)
        on_counts(counts)
        if is_sent and progress.is_done and counts == last:
            return progress
        if counts != last or not is_sent:  # while it is sent, the sender itself watches the broker
            last, moved_at = counts, time.monotonic()
        elif time.monotonic() - moved_at > stalled_s:
            raise AgentracerError(f"{_stalled(progress, stalled_s)}; the roles said last: {pipeline.last_lines()}")
        time.sleep(_LOOK_EVERY_S)


def _stalled(progress: Progress, stalled_s: float) -> str:
    some = ", ".join(f"{one}/{event}" for one, event in sorted(progress.missing)[:5])
    waiting = progress.traced - progress.verdicts
    return (
        f"nothing moved for {stalled_s:.0f} s: {len(progress.missing)} events are missing ({some or 'none'}) and "
        f"{waiting} verdicts"
    )


def standing(client: Client, progress: Progress) -> list[VerdictLine]:
    """Return the verdicts on the latest revisions of these runs, the newest first."""
    mine = {(run.trajectory_id, run.opened_ms, run.revision) for run in progress.runs}
    if not mine:
        return []
    since = datetime.fromtimestamp(min(opened for _, opened, _ in mine) / 1000, UTC) - _CLOCKS_APART
    found = verdicts(client, since=since, limit=1_000_000)
    return [line for line in found if (line.trajectory_id, milliseconds(line.opened_at), line.revision) in mine]


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
