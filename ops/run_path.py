"""`agentracer run PATH`: recorded runs through every role, to their verdicts.

Rules: what the store holds whole already is not sent again, nor is what lies among its dead letters, so a second run
of the same file adds nothing; what can be found wrong without starting anything is.
"""

import random
import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, Group, RenderableType

from ops import query, show
from ops.pipeline import Pipeline, Where
from ops.progress import done_before, lettered_before
from ops.recorded.load import Kind, Recording, detect
from ops.recorded.run import RecordedRun
from ops.run import FAST, Report, Sending, following, report, send_and_follow, standing
from ops.send import Ledger, Outgoing, Refusal, plan
from schemas import StepEvent
from schemas.errors import SettingsError
from streams.migrate import Client
from streams.route import load_rules
from tracer.rules import by_name

VERDICTS_SHOWN = 40
LONGEST_IDLE_MS = 45_000
"""Shorter than the patience with which the end is waited for."""


class Order(NamedTuple):
    """How the runs are sent."""

    rate: float | None
    concurrency: int
    duplicate: float
    ndjson: int
    seed: int
    shuffle: bool

    @property
    def settings(self) -> dict[str, str]:
        """What the workers have to know of it: at a slow pace the steps of a run come far apart, and it is not idle."""
        if self.rate is None:
            return {}
        apart_ms = 1000 * self.concurrency / self.rate
        return {"AGENTRACER_LIMITS__IDLE_MS": str(round(min(max(5_000, 10 * apart_ms), LONGEST_IDLE_MS)))}


@dataclass(frozen=True)
class Result:
    """What came of it."""

    report: Report
    verdicts: list[query.VerdictLine]
    """On the latest revision of each run."""
    refused: list[Refusal]
    """What the broker would not take."""

    def verdict_lines(self) -> Iterator[str]:
        """Yield each verdict as JSON."""
        return (show.as_json(line) for line in self.verdicts)

    def table(self) -> RenderableType:
        """Return what a person is shown."""
        more = len(self.verdicts) - VERDICTS_SHOWN
        tail = [f"and {more} more; --out FILE writes them all"] if more > 0 else []
        return Group(show.verdict_table(self.verdicts[:VERDICTS_SHOWN]), *tail, show.summary(self.report))


def worker_settings(choices: dict[str, str | Path | None]) -> dict[str, str]:
    """Turn a command's choices into the workers' environment; raises SettingsError where a worker would."""
    if choices.get("tracer") is not None:
        by_name(str(choices["tracer"]))
    if choices.get("rules") is not None:
        load_rules(Path(str(choices["rules"])))
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
    where.refuse_contradictions()
    settings = FAST | order.settings | worker_settings(choices)
    runs = list(Recording(kind or detect(path), path))
    if not runs:
        raise SettingsError(f"{str(path)!r} holds no runs")
    started = time.monotonic()
    with following(console) as display, Pipeline(where, settings=settings, on_note=display.note) as pipeline:
        with query.connect(pipeline.clickhouse) as client:
            left, ledger = _left(client, runs)
        already = len(ledger.steps)
        progress = send_and_follow(pipeline, _plan(left, order), Sending(order.rate, order.ndjson), ledger, display)
        with query.connect(pipeline.clickhouse) as client:
            verdicts = standing(client, progress)
        return Result(report(ledger, progress, time.monotonic() - started, already), verdicts, ledger.refused)


def _left(client: Client, runs: list[RecordedRun]) -> tuple[list[RecordedRun], Ledger]:
    """Return what is not in the store yet, and a ledger of what is."""
    done = done_before(client, _step_ids(runs))
    rubbish = {one.raw for run in runs for one in run.events if one.event is None}
    lettered = lettered_before(client) if rubbish else {}
    ledger = Ledger(unreadable=[address for raw in rubbish for address in lettered.get(raw, ())])
    ledger.steps.update(dict.fromkeys(_step_ids(run for run in runs if run.trajectory_id in done), 0))
    left = [_without(run, lettered) for run in runs if run.trajectory_id not in done]
    return left, ledger


def _without(run: RecordedRun, lettered: Container[bytes]) -> RecordedRun:
    return run._replace(events=tuple(one for one in run.events if one.event is not None or one.raw not in lettered))


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
