"""`agentracer demo`: a simulated fleet through everything, its verdicts beside the true faults.

The true decisive step of a failed run is found by counterfactual replay: the earliest step whose correction, with
everything after it run again, turns the failure into a success. No event says it.

Rules: the same seed gives the same runs; on a broker or store that stays, their ids are new each time, since events
that came before with other times would be conflicts.
"""

import random
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from ops import query, show
from ops.embedded import tracer as embedded_tracer
from ops.pipeline import Pipeline, Where
from ops.plain import cell
from ops.query import VerdictLine
from ops.recorded.run import RecordedRun, recorded
from ops.run import FAST, Sending, following, report, send_and_follow, standing
from ops.run_path import worker_settings
from ops.send import Ledger, plan
from tracer.rules import RULES, UNCOUNTED
from trainer.simulator import Run, decisive_step, events, fleet
from trainer.steps.runs import trajectory_of

ROWS_SHOWN = 25
RULE = "commonest_agent"
"""Decides where the embedded model can't."""
RUNS, RUNS_BY_MODEL = 60, 24
"""How many runs the fleet makes; a model on a CPU takes a second or more for each that failed."""
PATIENCE_S = 120.0
"""An engine takes half a minute to start, and nothing moves meanwhile."""
Runs = dict[str, Run]
"""Each run by the trajectory id under which it is sent."""


def demonstrate(
    count: int | None, seed: int, where: Where, tracer: str | None, console: Console
) -> tuple[dict[str, Any], RenderableType]:
    """Run the demo, with the embedded model where nobody names another tracer; return its report and its tables."""
    where.refuse_contradictions()
    settings = FAST | _tracer_settings(tracer, console)
    started = time.monotonic()
    with following(console) as display:
        with Pipeline(where, settings=settings, on_note=display.note) as pipeline:
            display.note("simulating the fleet")
            runs = _named(fleet(count or _count(settings), seed), where)
            outgoing = plan(_recorded(runs), concurrency=12, shuffle=True, duplicate=0.1, rng=random.Random(seed))  # noqa: S311
            ledger = Ledger()
            progress = send_and_follow(pipeline, outgoing, Sending(), ledger, display, stalled_s=PATIENCE_S)
            with query.connect(pipeline.clickhouse) as client:
                found = {line.trajectory_id: line for line in standing(client, progress)}
            total = report(ledger, progress, time.monotonic() - started)
        display.note("finding the true faults by counterfactual replay")
        truth = {one: decisive_step(runs[one]) for one in runs if one in found}
    return asdict(total), Group(_table(runs, found, truth), _score(runs, found, truth), show.summary(total))


def _tracer_settings(tracer: str | None, console: Console) -> dict[str, str]:
    """Return the workers' settings for a rule, or for the embedded model where there is one."""
    if tracer is not None:
        return worker_settings({"tracer": tracer})
    lacking = embedded_tracer.missing()
    if lacking is None:
        return embedded_tracer.worker_settings()
    console.print(f"{lacking}: the rule {RULE} decides instead", style="yellow", markup=False)
    return worker_settings({"tracer": RULE})


def _count(settings: dict[str, str]) -> int:
    return RUNS_BY_MODEL if settings["AGENTRACER_TRACER"] == embedded_tracer.METHOD else RUNS


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
    known = {one: step for one, step in truth.items() if step is not None}
    tracer = next((line.tracer for line in found.values()), "none")
    named = {one: (found[one].agent, found[one].step_index) for one in known}
    text = f"{tracer} named {_hits(runs, named, known)} of {len(known)} failures whose decisive step is known"
    if tracer in RULES:
        return f"{text}; it is a rule without a model, a floor"
    return "\n".join([text, "", *(_floor(rule, runs, known) for rule in RULES)])


def _floor(rule: str, runs: Runs, known: Mapping[str, int]) -> str:
    """Say what a rule makes of the same runs."""
    findings = {one: RULES[rule](trajectory_of(runs[one]), UNCOUNTED) for one in known}
    named = {one: (finding.agent, finding.step_index) for one, finding in findings.items()}
    return f"the rule {rule} would have named {_hits(runs, named, known)}"


def _hits(runs: Runs, named: Mapping[str, tuple[str | None, int | None]], known: Mapping[str, int]) -> str:
    agents = sum(named[one][0] == runs[one].actions[step].agent for one, step in known.items())
    steps = sum(named[one][1] == step for one, step in known.items())
    return f"the agent in {agents} and the step in {steps}"
