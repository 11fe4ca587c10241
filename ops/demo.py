"""`agentracer demo`: a simulated fleet through everything, its verdicts beside the true faults.

The true decisive step of a failed run is found by counterfactual replay: the earliest step whose correction, with
everything after it run again, turns the failure into a success. No event says it.

Rules: the same seed gives the same runs; on a broker or store that stays, their ids are new each time, since events
that came before with other times would be conflicts.
"""

import random
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from ops import query, show
from ops.pipeline import Pipeline, Where
from ops.plain import cell
from ops.query import VerdictLine
from ops.recorded.run import RecordedRun, recorded
from ops.run import FAST, Sending, following, report, send_and_follow, standing
from ops.run_path import worker_settings
from ops.send import Ledger, plan
from trainer.simulator import Run, decisive_step, events, fleet

ROWS_SHOWN = 25
Runs = dict[str, Run]
"""Each run by the trajectory id under which it is sent."""


def demonstrate(
    count: int, seed: int, where: Where, tracer: str, console: Console
) -> tuple[dict[str, Any], RenderableType]:
    """Run the demo; return its report and what a person is shown."""
    where.refuse_contradictions()
    settings = FAST | worker_settings({"tracer": tracer})
    started = time.monotonic()
    with following(console) as display:
        display.note("simulating the fleet")
        runs = _named(fleet(count, seed), where)
        with Pipeline(where, settings=settings, on_note=display.note) as pipeline:
            outgoing = plan(_recorded(runs), concurrency=12, shuffle=True, duplicate=0.1, rng=random.Random(seed))  # noqa: S311
            ledger = Ledger()
            progress = send_and_follow(pipeline, outgoing, Sending(), ledger, display)
            with query.connect(pipeline.clickhouse) as client:
                found = {line.trajectory_id: line for line in standing(client, progress)}
            total = report(ledger, progress, time.monotonic() - started)
        display.note("finding the true faults by counterfactual replay")
        truth = {one: decisive_step(runs[one]) for one in runs if one in found}
    return asdict(total), Group(_table(runs, found, truth), _score(runs, found, truth), show.summary(total))


def _named(runs: Iterable[Run], where: Where) -> Runs:
    stays = where.broker is not None or where.clickhouse is not None
    suffix = f"-{secrets.token_hex(3)}" if stays else ""
    return {f"{run.trajectory_id}{suffix}": run for run in runs}


def _recorded(runs: Runs) -> Iterator[RecordedRun]:
    now = datetime.now(UTC)
    for number, (trajectory_id, run) in enumerate(runs.items()):
        started_at = now - timedelta(minutes=5) + timedelta(seconds=number)
        sent = (one.model_copy(update={"trajectory_id": trajectory_id}) for one in events(run, started_at=started_at))
        yield RecordedRun(trajectory_id, tuple(map(recorded, sent)))


def _table(runs: Runs, found: dict[str, VerdictLine], truth: dict[str, int | None]) -> Table:
    table = Table(title="Verdicts beside the true faults", title_justify="left", caption_justify="left")
    for name in ("trajectory", "system", "blamed", "step", "true fault", "true step", ""):
        table.add_column(name, justify="right" if name.endswith("step") else "left")
    for one in list(truth)[:ROWS_SHOWN]:
        verdict, step = found[one], truth[one]
        true_agent = "none alone" if step is None else runs[one].actions[step].agent
        hit = step is not None and verdict.step_index == step
        table.add_row(
            one,
            cell(verdict.system),
            cell(verdict.agent or verdict.status),
            "" if verdict.step_index is None else str(verdict.step_index),
            true_agent,
            "" if step is None else str(step),
            "[green]hit[/green]" if hit else "agent" if verdict.agent == true_agent else "",
        )
    if len(truth) > ROWS_SHOWN:
        table.caption = f"and {len(truth) - ROWS_SHOWN} more"
    return table


def _score(runs: Runs, found: dict[str, VerdictLine], truth: dict[str, int | None]) -> str:
    known = [(found[one], runs[one].actions[step].agent, step) for one, step in truth.items() if step is not None]
    agents = sum(verdict.agent == agent for verdict, agent, _ in known)
    steps = sum(verdict.step_index == step for verdict, _, step in known)
    tracer = next((line.tracer for line in found.values()), "none")
    return (
        f"{tracer} is a rule without a model, a floor: it named the agent in {agents} and the step in {steps} "
        f"of {len(known)} failures whose decisive step is known"
    )
