"""A finding becomes a verdict: checked against its trajectory, with what the worker knows beside it.

Rules: pure; never raises on any finding; the id is a hash of what is judged and by whom, so a trajectory that
comes twice gets the same id; a step that isn't there makes the verdict `out_of_range`; quotes that aren't word
for word, and indices that aren't there, are left out; everything is bounded, so a verdict fits its topic.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime

from pydantic import JsonValue

from schemas import Candidate, Evidence, StepEvent, Trajectory, Verdict, VerdictPurpose, VerdictStatus

from .protocol import Finding, Quote, Suspect

MAX_INDEX = 2**31 - 1
REASON_CHARACTERS = 10_000
QUOTE_CHARACTERS = 2_000
QUOTES = 50
CANDIDATES = 100


def to_verdict(
    trajectory: Trajectory,
    finding: Finding,
    *,
    tracer: str,
    version: str,
    attempts: int,
    queued_ms: int,
    traced_ms: int,
    decided_at: datetime,
    purpose: VerdictPurpose = VerdictPurpose.SERVE,
) -> Verdict:
    """Return the verdict on one revision of a trajectory."""
    version = finding.version or version
    step = _step(trajectory, finding.step_index)
    return Verdict(
        verdict_id=verdict_id(trajectory, tracer=tracer, version=version, purpose=purpose),
        trajectory_id=trajectory.trajectory_id,
        opened_at=trajectory.opened_at,
        revision=trajectory.revision,
        tenant=trajectory.tenant,
        system=trajectory.system,
        system_version=trajectory.system_version,
        task_id=trajectory.task_id,
        route_reason=trajectory.routing.reason if trajectory.routing else None,
        status=_status(finding, step),
        purpose=purpose,
        agent=finding.agent,
        agent_version=step.agent_version if step else None,
        step_index=_index(finding.step_index),
        event_id=step.event_id if step else None,
        reason=finding.reason[:REASON_CHARACTERS] if finding.reason is not None else None,
        reason_source=finding.reason_source,
        evidence=tuple(_evidence(trajectory, finding.evidence))[:QUOTES],
        confidence=finding.confidence,
        alternatives=tuple(_candidates(trajectory, finding.alternatives))[:CANDIDATES],
        failure_path=tuple(sorted({index for index in finding.failure_path if _step(trajectory, index)})),
        failure_class=finding.failure_class,
        tracer=tracer,
        tracer_version=version,
        prompt_version=finding.prompt_version,
        seeds=finding.seeds,
        attempts=attempts,
        tokens=finding.tokens,
        queued_ms=max(0, min(queued_ms, MAX_INDEX)),
        traced_ms=max(0, min(traced_ms, MAX_INDEX)),
        decided_at=decided_at,
    )


def verdict_id(trajectory: Trajectory, *, tracer: str, version: str, purpose: VerdictPurpose) -> str:
    """Return the id that every verdict of this tracer on this revision has."""
    parts = (
        trajectory.trajectory_id,
        trajectory.opened_at.isoformat(),
        str(trajectory.revision),
        tracer,
        version,
        purpose.value,
    )
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def texts(step: StepEvent) -> Iterator[str]:
    """Yield what a quote of a step may be taken from, the tool's error first."""
    if step.tool is not None:
        if step.tool.error is not None:
            yield step.tool.error
        yield from _strings(step.tool.result)
        yield from _strings(step.tool.arguments)
    yield step.content
    if step.input is not None:
        yield step.input


def _strings(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _step(trajectory: Trajectory, index: int | None) -> StepEvent | None:
    if index is None or not 0 <= index < len(trajectory.steps):
        return None
    return trajectory.steps[index]


def _index(index: int | None) -> int | None:
    return index if index is not None and 0 <= index <= MAX_INDEX else None


def _status(finding: Finding, step: StepEvent | None) -> VerdictStatus:
    if finding.step_index is not None and step is None:
        return VerdictStatus.OUT_OF_RANGE
    return finding.status


def _evidence(trajectory: Trajectory, quotes: tuple[Quote, ...]) -> Iterator[Evidence]:
    for quote in quotes:
        step = _step(trajectory, quote.step_index)
        if step is not None and quote.quote and any(quote.quote in text for text in texts(step)):
            yield Evidence(step_index=quote.step_index, event_id=step.event_id, quote=quote.quote[:QUOTE_CHARACTERS])


def _candidates(trajectory: Trajectory, suspects: tuple[Suspect, ...]) -> Iterator[Candidate]:
    for suspect in suspects:
        step = _step(trajectory, suspect.step_index)
        if step is not None:
            yield Candidate(
                agent=suspect.agent, step_index=suspect.step_index, event_id=step.event_id, score=suspect.score
            )
