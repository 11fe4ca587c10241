"""`agentracer trace`: one trajectory, from the store or a file, through a tracer now; nothing is written anywhere.

Rules: a file holds a trajectory as it stands on `trajectories`, or recorded runs of any form that `run` takes; what is
assembled from a file closes at its end, whatever is missing; verdicts of these are marked as retraced.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue, ValidationError
from rich.console import Console, Group, RenderableType
from rich.panel import Panel

from ops import query
from ops.plain import cell
from ops.recorded.load import Recording, detect
from ops.recorded.run import RecordedRun
from schemas import (
    CloseReason,
    KeySource,
    Outcome,
    Result,
    RouteReason,
    Routing,
    StepEvent,
    StepKind,
    ToolUse,
    Trajectory,
    Verdict,
    VerdictPurpose,
)
from schemas.errors import AgentracerError, SettingsError
from streams.assemble import Assembler, SourceRecord
from streams.close import close
from streams.limits import Limits
from tracer.choose import chosen
from tracer.settings import TracerSettings
from tracer.verdict import to_verdict


def trajectories_at(path: Path) -> list[Trajectory]:
    """Read what a file holds; raises SettingsError where that is no run."""
    if path.is_file() and path.suffix == ".json":
        try:
            return [Trajectory.model_validate_json(path.read_bytes())]
        except ValidationError as error:
            if '"steps"' in path.read_text(errors="replace"):
                first = error.errors(include_url=False, include_input=False)[0]
                what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
                raise SettingsError(f"{str(path)!r} is no trajectory ({what})") from error
    found = [one for run in Recording(detect(path), path) for one in assembled(run)]
    if not found:
        raise SettingsError(f"{str(path)!r} holds no run with a step; look at its lines with `agentracer run`")
    return found


def assembled(run: RecordedRun) -> Iterator[Trajectory]:
    """Fold a recorded run as the stream does, and close what is open at its end."""
    assembler = Assembler(0, 1, Limits())
    now = datetime.now(UTC)
    now_ms = round(now.timestamp() * 1000)
    for offset, event in enumerate(run.events):
        assembler.fold(SourceRecord(offset, now_ms, None, event.raw))
    for one in assembler.open.values():
        if one.steps:
            reason = CloseReason.COMPLETED if one.ended else CloseReason.IDLE
            yield Trajectory.model_validate_json(close(one, reason, now_ms, None).value())


def stored(clickhouse: str, trajectory_id: str) -> Trajectory:
    """Read the latest revision of a run from the store."""
    with query.connect(clickhouse, within_s=3.0) as client:
        found = query.trajectory(client, trajectory_id)
    if found is None:
        raise AgentracerError(
            f"the store has no trajectory {trajectory_id!r} and there is no such file; see `agentracer verdicts`"
        )
    return trajectory_of(found)


def trajectory_of(run: query.Run) -> Trajectory:
    """Return a stored run as a tracer is given it."""
    of = run.trajectory
    return Trajectory(
        trajectory_id=of.trajectory_id,
        opened_at=of.opened_at,
        revision=of.revision,
        key_source=KeySource.RUN_ID,
        tenant=of.tenant,
        system=of.system,
        system_version=of.system_version,
        task_id=of.task_id,
        task=of.task,
        outcome=_outcome(of),
        close_reason=CloseReason(of.close_reason),
        closed_at=of.closed_at,
        gap_count=of.gap_count,
        routing=Routing(reason=RouteReason(of.route_reason)) if of.route_reason is not None else None,
        steps=tuple(_step(of, step) for step in run.steps),
    )


def _outcome(of: query.TrajectoryLine) -> Outcome | None:
    if of.result is None:
        return None
    return Outcome(result=Result(of.result), score=of.score, reason=of.outcome_reason, ground_truth=of.ground_truth)


def _step(of: query.TrajectoryLine, step: query.StepLine) -> StepEvent:
    tool = None
    if step.tool_name is not None:
        tool = ToolUse(
            name=step.tool_name,
            arguments=_json(step.tool_arguments),
            result=_json(step.tool_result),
            error=step.tool_error,
        )
    return StepEvent(
        event_id=step.event_id,
        trajectory_id=of.trajectory_id,
        tenant=of.tenant,
        system=of.system,
        agent=step.agent,
        agent_version=step.agent_version,
        agent_role=step.agent_role,
        kind=StepKind(step.kind),
        content=step.content,
        input=step.input,
        tool=tool,
        error_type=step.error_type,
        started_at=step.started_at,
        ended_at=step.ended_at,
    )


def _json(text: str | None) -> JsonValue:
    found: JsonValue = None if text is None else json.loads(text)
    return found


def trace_now(trajectories: Iterable[Trajectory], settings: TracerSettings, console: Console) -> list[Verdict]:
    """Trace each in turn, with a line of progress."""
    return asyncio.run(_trace(list(trajectories), settings, console))


async def _trace(trajectories: list[Trajectory], settings: TracerSettings, console: Console) -> list[Verdict]:
    verdicts = []
    with console.status(f"starting {settings.tracer}") as status:
        async with chosen(settings) as tracer:
            for number, trajectory in enumerate(trajectories, 1):
                status.update(f"tracing {number} of {len(trajectories)}")
                began = asyncio.get_running_loop().time()
                version, finding = tracer.version, await tracer.trace(trajectory)
                verdict = to_verdict(
                    trajectory,
                    finding,
                    tracer=tracer.name,
                    version=version,
                    attempts=1,
                    queued_ms=0,
                    traced_ms=round((asyncio.get_running_loop().time() - began) * 1000),
                    decided_at=datetime.now(UTC),
                    purpose=VerdictPurpose.RETRACE,
                )
                verdicts.append(verdict)
    return verdicts


def verdict_view(verdict: Verdict) -> RenderableType:
    """Return a verdict as a person reads it."""
    named = "nobody" if verdict.agent is None else f"{verdict.agent} at step {verdict.step_index}"
    sure = "" if verdict.confidence is None else f", {verdict.confidence:.0%} sure"
    lines = [f"{verdict.status}: {named}{sure}", verdict.reason or ""]
    lines += [f"“{one.quote}” (step {one.step_index})" for one in verdict.evidence]
    if verdict.alternatives:
        others = ", ".join(f"{one.agent} at {one.step_index}" for one in verdict.alternatives[:3])
        lines.append(f"else: {others}")
    tokens = verdict.tokens
    cost = (
        f"{tokens.input:,} tokens read ({tokens.cached:,} cached), {tokens.output:,} written; " if tokens.input else ""
    )
    lines.append(f"{cost}{verdict.traced_ms / 1000:.1f} s by {verdict.tracer} {verdict.tracer_version}")
    return Panel(cell("\n".join(line for line in lines if line)), title=cell(verdict.trajectory_id), title_align="left")


def verdict_views(verdicts: Iterable[Verdict]) -> RenderableType:
    """Return all of them."""
    return Group(*map(verdict_view, verdicts))
