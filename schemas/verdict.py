"""What the tracer claims (verdict), what we hold true (label), and what a fleet is told (feedback).

Rules: a step index is a position in the trajectory's revision; every revision of a failed trajectory has one
standing verdict, the one with the lowest offset on `verdicts`; quotes are verbatim.
"""

from typing import Annotated, Literal

from pydantic import Field

from .fields import Contract, Id, Index, Name, UtcTime
from .kinds import FailureClass, LabelSource, RouteReason, VerdictPurpose, VerdictStatus

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
FAILURE_CLASS_VERSION = 1


class Evidence(Contract):
    """A verbatim quote of one step."""

    step_index: Index
    event_id: Id
    quote: str


class Candidate(Contract):
    """One agent and step that may be the decisive pair; `score` ranks it against its neighbours."""

    agent: Id
    step_index: Index
    event_id: Id
    score: float | None = None


class Tokens(Contract):
    """What the engine read and wrote."""

    input: Index = 0
    output: Index = 0
    cached: Index = 0


class Verdict(Contract):
    """Which agent and step broke a run; agent, step and event are null unless something was named."""

    schema_version: Literal[1] = 1
    verdict_id: Id
    trajectory_id: Id
    opened_at: UtcTime
    revision: Index
    tenant: Id
    system: Id
    system_version: Name | None = None
    task_id: Id | None = None
    route_reason: RouteReason | None = None
    status: VerdictStatus
    purpose: VerdictPurpose = VerdictPurpose.SERVE
    agent: Id | None = None
    agent_version: Name | None = None
    step_index: Index | None = None
    event_id: Id | None = None
    reason: str | None = None
    reason_source: Literal["model", "template"] | None = None
    evidence: tuple[Evidence, ...] = ()
    confidence: Probability | None = None
    alternatives: tuple[Candidate, ...] = ()
    failure_path: tuple[Index, ...] = ()
    failure_class: FailureClass = FailureClass.UNKNOWN
    failure_class_version: Index = FAILURE_CLASS_VERSION
    tracer: Id
    tracer_version: Id
    prompt_version: Name | None = None
    seeds: tuple[int, ...] = ()
    attempts: Index = 1
    tokens: Tokens = Tokens()
    queued_ms: Index = 0
    """From the trajectory's append on `failed-trajectories` to the start of the trace."""
    traced_ms: Index = 0
    decided_at: UtcTime


class Label(Contract):
    """The decisive pair of a failed trajectory, as replay, injection or a person found it."""

    schema_version: Literal[1] = 1
    label_id: Id
    trajectory_id: Id
    opened_at: UtcTime | None = None
    agent: Id
    step_index: Index
    event_id: Id | None = None
    source: LabelSource
    annotator: Id
    reason: str | None = None
    labelled_at: UtcTime


class Feedback(Contract):
    """What a fleet may do differently on its next attempt at a task."""

    schema_version: Literal[1] = 1
    feedback_id: Id
    trajectory_id: Id
    verdict_id: Id
    system: Id
    task_id: Id | None = None
    agent: Id
    step_index: Index
    advice: str
    given_at: UtcTime
