"""The tracer's plug: a trajectory goes in, a finding comes out.

Rules: `trace` is called many times at once, and an engine that batches takes its batches from exactly that; it
never blocks the event loop (a broker's heartbeats run on it), may be cancelled at any await, and raises when it
can't tell; what it returns may name steps that aren't there: `tracer/verdict.py` judges that.
"""

from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas import FailureClass, Tokens, Trajectory, VerdictStatus
from schemas.fields import Id, Name

NAMES_A_STEP = frozenset({VerdictStatus.ATTRIBUTED, VerdictStatus.OUT_OF_RANGE})


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Quote(_Value):
    """A piece of one step, word for word; what isn't does not reach the verdict."""

    step_index: int
    quote: str


class Suspect(_Value):
    """Another pair that may be the decisive one; `score` ranks it against its neighbours."""

    agent: Id
    step_index: int
    score: float | None = None


class Finding(_Value):
    """What the tracer itself knows of one trajectory; agent and step are set unless it names nobody."""

    status: VerdictStatus
    agent: Id | None = None
    step_index: int | None = None
    """As the tracer said it: 0-based, possibly not in the trajectory."""
    reason: str | None = None
    reason_source: Literal["model", "template"] | None = None
    evidence: tuple[Quote, ...] = ()
    confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    """Calibrated, or None."""
    alternatives: tuple[Suspect, ...] = ()
    """Ranked, the likeliest first."""
    failure_path: tuple[int, ...] = ()
    failure_class: FailureClass = FailureClass.UNKNOWN
    version: Id | None = None
    """The version that found it, where the tracer may have moved on to another since it was asked."""
    prompt_version: Name | None = None
    seeds: tuple[int, ...] = ()
    tokens: Tokens = Tokens()

    @model_validator(mode="after")
    def _names_what_it_blames(self) -> Self:
        if self.status in NAMES_A_STEP and (self.agent is None or self.step_index is None):
            raise ValueError(f"a finding of status {self.status.value!r} names an agent and a step; set both")
        return self


class Tracer(Protocol):
    """Whatever finds the decisive agent and step: rules, an engine, an endpoint."""

    @property
    def name(self) -> str:
        """What it is called on verdicts."""
        ...

    @property
    def version(self) -> str:
        """What it would answer with now: rules, weights and prompt together."""
        ...

    async def trace(self, trajectory: Trajectory) -> Finding:
        """Name the decisive agent and step of one failed trajectory."""
        ...


def abstained(reason: str, status: VerdictStatus = VerdictStatus.ABSTAINED) -> Finding:
    """Return a finding that names nobody, and why."""
    return Finding(status=status, reason=reason, reason_source="template")
