"""`agentracer demo`: a simulated fleet through everything, its verdicts beside the true faults.

The true decisive step of a failed run is found by counterfactual replay: the earliest step whose correction, with
everything after it run again, turns the failure into a success. No event says it.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from ops import query, show
from ops.pipeline import Pipeline, Where
from ops.query import VerdictLine
from ops.recorded.run import RecordedRun, recorded
from ops.run import FAST, Sending, following, report, send_and_follow
from ops.send import Ledger, plan
from trainer.simulator import Run, decisive_step, events, fleet

ROWS_SHOWN = 25


def demonstrate(
    count: int, seed: int, where: Where, tracer: str, console: Console
) -> tuple[dict[str, Any], RenderableType]:
    """Run the demo; return its report and what a person is shown."""
    started = time.monotonic()
    with following(console) as display:
        display.note("simulating the fleet")
        runs = list(fleet(count, seed))
        with Pipeline(where, settings=FAST | {"AGENTRACER_TRACER": tracer}, on_note=display.note) as pipeline:
            outgoing = plan(_recorded(runs), concurrency=12, shuffle=True, duplicate=0.1, rng=random.Random(seed))  # noqa: S311
            ledger = Ledger()
            progress = send_and_follow(pipeline, outgoing, Sending(), ledger, display)
            with query.connect(pipeline.clickhouse) as client:
                found = {line.trajectory_id: line for line in query.verdicts(client, limit=count)}
            total = report(ledger, progress, time.monotonic() - started)
        display.note("finding the true faults by counterfactual replay")
        truth = {run.trajectory_id: decisive_step(run) for run in runs if run.trajectory_id in found}
    return asdict(total), Group(_table(runs, found, truth), _score(runs, found, truth), show.summary(total))


def _recorded(runs: list[Run]) -> Iterator[RecordedRun]:
    now = datetime.now(UTC)
    for number, run in enumerate(runs):
        started_at = now - timedelta(minutes=5) + timedelta(seconds=number)
        yield RecordedRun(run.trajectory_id, tuple(recorded(event) for event in events(run, started_at=started_at)))


def _table(runs: list[Run], found: dict[str, VerdictLine], truth: dict[str, int | None]) -> Table:
    table = Table(title="Verdicts beside the true faults", title_justify="left", caption_justify="left")
    for name in ("trajectory", "system", "blamed", "step", "true fault", "true step", ""):
        table.add_column(name, justify="right" if name.endswith("step") else "left")
    failed = [run for run in runs if run.trajectory_id in found]
    for run in failed[:ROWS_SHOWN]:
        verdict, step = found[run.trajectory_id], truth[run.trajectory_id]
        true_agent = "none alone" if step is None else run.actions[step].agent
        hit = step is not None and verdict.step_index == step
        table.add_row(
            run.trajectory_id,
            verdict.system,
            verdict.agent or verdict.status,
            "" if verdict.step_index is None else str(verdict.step_index),
            true_agent,
            "" if step is None else str(step),
            "[green]hit[/green]" if hit else "agent" if verdict.agent == true_agent else "",
        )
    if len(failed) > ROWS_SHOWN:
        table.caption = f"and {len(failed) - ROWS_SHOWN} more"
    return table


def _score(runs: list[Run], found: dict[str, VerdictLine], truth: dict[str, int | None]) -> str:
    known = [(run, truth[run.trajectory_id]) for run in runs if truth.get(run.trajectory_id) is not None]
    steps = sum(found[run.trajectory_id].step_index == step for run, step in known)
    agents = sum(step is not None and found[run.trajectory_id].agent == run.actions[step].agent for run, step in known)
    tracer = next((line.tracer for line in found.values()), "none")
    return (
        f"{tracer} is a rule without a model, a floor: it named the agent in {agents} and the step in {steps} "
        f"of {len(known)} failures whose decisive step is known"
    )
