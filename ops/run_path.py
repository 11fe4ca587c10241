"""`agentracer run PATH`: recorded runs through every role, to their verdicts.

Rules: what the store holds whole already is not sent again, so a second run of the same file adds nothing.
"""

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, Group, RenderableType

from ops import query, show
from ops.pipeline import Pipeline, Where
from ops.progress import done_before
from ops.recorded.load import Kind, Recording, detect
from ops.recorded.run import RecordedRun
from ops.run import FAST, Report, Sending, following, report, send_and_follow
from ops.send import Ledger, Outgoing, plan
from schemas import StepEvent
from schemas.errors import SettingsError

VERDICTS_SHOWN = 40


class Order(NamedTuple):
    """How the runs are sent."""

    rate: float | None
    concurrency: int
    duplicate: float
    ndjson: int
    seed: int
    shuffle: bool


@dataclass(frozen=True)
class Result:
    """What came of it."""

    report: Report
    verdicts: list[query.VerdictLine]

    def verdict_lines(self) -> Iterator[str]:
        """Yield each verdict as JSON."""
        return (show.as_json(line) for line in self.verdicts)

    def table(self) -> RenderableType:
        """Return what a person is shown."""
        more = len(self.verdicts) - VERDICTS_SHOWN
        tail = [f"and {more} more; --out FILE writes them all"] if more > 0 else []
        return Group(show.verdict_table(self.verdicts[:VERDICTS_SHOWN]), *tail, show.summary(self.report))


def worker_settings(choices: dict[str, str | Path | None]) -> dict[str, str]:
    """Turn a command's choices into the workers' environment."""
    names = {"tracer": "AGENTRACER_TRACER", "rules": "AGENTRACER_ROUTING_RULES"}
    return {names[name]: str(value) for name, value in choices.items() if value is not None}


def run_path(
    path: Path,
    kind: Kind | None,
    where: Where,
    order: Order,
    choices: dict[str, str | Path | None],
    console: Console,
) -> Result:
    """Send the runs at a path and follow them to their verdicts."""
    recording = Recording(kind or detect(path), path)
    runs = list(recording)
    if not runs:
        raise SettingsError(f"{str(path)!r} holds no runs")
    started = time.monotonic()
    settings = FAST | worker_settings(choices)
    with following(console) as display, Pipeline(where, settings=settings, on_note=display.note) as pipeline:
        with query.connect(pipeline.clickhouse) as client:
            done = done_before(client, _step_ids(runs))
        ledger = Ledger()
        ledger.steps.update(dict.fromkeys(_step_ids(run for run in runs if run.trajectory_id in done), 0))
        already = len(ledger.steps)
        events = _plan([run for run in runs if run.trajectory_id not in done], order)
        progress = send_and_follow(pipeline, events, Sending(order.rate, order.ndjson), ledger, display)
        with query.connect(pipeline.clickhouse) as client:
            mine = {run.trajectory_id for run in progress.runs}
            verdicts = [line for line in query.verdicts(client, limit=1_000_000) if line.trajectory_id in mine]
        return Result(report(ledger, progress, time.monotonic() - started, already), verdicts)


def _plan(runs: list[RecordedRun], order: Order) -> Iterator[Outgoing]:
    return plan(
        runs,
        concurrency=order.concurrency,
        shuffle=order.shuffle,
        duplicate=order.duplicate,
        rng=random.Random(order.seed),  # noqa: S311 - an order, no secret
    )


def _step_ids(runs: Iterable[RecordedRun]) -> Iterator[tuple[str, str]]:
    for run in runs:
        for one in run.events:
            if isinstance(one.event, StepEvent):
                yield one.event.trajectory_id, one.event.event_id
