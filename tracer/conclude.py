"""A guess becomes a finding: status, reason, evidence, path and class.

Rules: pure; a quote is word for word from the decisive step, the model's own where it is, else the step's beginning;
a confidence is calibrated or None; who is under the threshold is named among the alternatives only; what is out of
range keeps the pair as it was named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas import CloseReason, FailureClass, StepEvent, Trajectory, VerdictStatus
from tracer.methods.protocol import Case, Guess, Scored

from .protocol import Finding, Quote, Suspect
from .rules import agent_of, error_of
from .verdict import CANDIDATES, texts

QUOTE_CHARACTERS = 300
NO_STEP = "the model calls no step decisive"
NOT_READ = "no answer of the model could be read"
SPENT = "the tokens or the time of this trajectory were spent before there was an answer"


@dataclass(frozen=True, slots=True)
class Asked:
    """How the asking went."""

    method: str
    is_spent: bool
    is_unread: bool
    """Not one completion could be read."""
    confidence: float | None
    """Calibrated, or None."""
    abstain_below: float


class Named(NamedTuple):
    """A pair as it goes on the verdict, and whether agent and step are there."""

    agent: str
    step_index: int
    is_there: bool


def status_of(guess: Guess, asked: Asked) -> VerdictStatus:
    """Return how the verdict came out."""
    if asked.is_spent:
        return VerdictStatus.OVERLONG
    if guess.outside is not None:
        return VerdictStatus.OUT_OF_RANGE
    if not guess.ranked:
        return VerdictStatus.UNPARSABLE if asked.is_unread else VerdictStatus.ABSTAINED
    if asked.confidence is not None and asked.confidence < asked.abstain_below:
        return VerdictStatus.ABSTAINED
    return VerdictStatus.ATTRIBUTED


def named_by(guess: Guess, case: Case) -> Named | None:
    """Return whom the guess names."""
    if guess.outside is not None:
        short_id, step_index = guess.outside
        return Named(case.roster.name_of(short_id) or short_id, step_index, is_there=False)
    if guess.ranked:
        return Named(guess.ranked[0].agent, guess.ranked[0].step_index, is_there=True)
    return None


def finding_of(case: Case, guess: Guess, asked: Asked, failure_class: FailureClass) -> Finding:
    """Return the finding, without what only the caller knows: version, prompt and tokens."""
    status, named = status_of(guess, asked), named_by(guess, case)
    reason, source = _reason(guess, asked, status)
    if named is None or status is VerdictStatus.ABSTAINED:
        return Finding(
            status=status,
            reason=reason,
            reason_source=source,
            confidence=asked.confidence,
            alternatives=_suspects(guess.ranked),
            seeds=guess.seeds,
        )
    return Finding(
        status=status,
        agent=named.agent,
        step_index=named.step_index,
        reason=reason,
        reason_source=source,
        evidence=tuple(_evidence(case.trajectory, named.step_index, guess.quotes)),
        confidence=asked.confidence,
        alternatives=_suspects(guess.ranked[1:] if named.is_there else guess.ranked),
        failure_path=failure_path(case.trajectory, named.step_index),
        failure_class=failure_class,
        seeds=guess.seeds,
    )


def failure_path(trajectory: Trajectory, step_index: int) -> tuple[int, ...]:
    """Return the decisive step, the errors after it and the last step; empty where the step is not there."""
    steps = trajectory.steps
    if not 0 <= step_index < len(steps):
        return ()
    errors = (index for index in range(step_index + 1, len(steps)) if error_of(steps[index]) is not None)
    return tuple(dict.fromkeys((step_index, *errors, len(steps) - 1)))


def class_by_rule(trajectory: Trajectory, step_index: int) -> FailureClass:
    """Return what the trajectory's own facts say, for methods that hear no words from the model.

    A step that says and does just what the same agent did before is a repetition; a run that only the limit on its
    length ended did not know when to end; anything else is unknown.
    """
    step = trajectory.steps[step_index]
    if any(_does(step) == _does(earlier) for earlier in trajectory.steps[:step_index]):
        return FailureClass.STEP_REPETITION
    if trajectory.close_reason is CloseReason.TOO_LONG:
        return FailureClass.UNAWARE_OF_END
    return FailureClass.UNKNOWN


def _does(step: StepEvent) -> tuple[object, ...]:
    tool = step.tool
    return agent_of(step), step.kind, step.content, tool and (tool.name, tool.arguments, tool.result, tool.error)


def _reason(guess: Guess, asked: Asked, status: VerdictStatus) -> tuple[str, Literal["model", "template"]]:
    if status is VerdictStatus.ABSTAINED and guess.ranked:
        return f"a confidence of {asked.confidence:.2f} is under {asked.abstain_below:.2f}", "template"
    if guess.reason is not None:
        return guess.reason.encode("utf-8", "replace").decode("utf-8"), "model"
    return _template(guess, asked), "template"


def _template(guess: Guess, asked: Asked) -> str:
    if guess.outside is not None:
        return f"{asked.method} names {guess.outside[0]} at step {guess.outside[1]}, which is not in the run"
    if not guess.ranked:
        return SPENT if asked.is_spent else NOT_READ if asked.is_unread else NO_STEP
    first, *others = guess.ranked
    text = f"{asked.method} ranks {_scored(first)} first"
    return f"{text}, before {_scored(others[0])}" if others else text


def _scored(pair: Scored) -> str:
    return f"step {pair.step_index} of {pair.agent} ({pair.score:.3g})"


def _suspects(ranked: Sequence[Scored]) -> tuple[Suspect, ...]:
    found = (Suspect(agent=pair.agent, step_index=pair.step_index, score=pair.score) for pair in ranked[:CANDIDATES])
    return tuple(found)


def _evidence(trajectory: Trajectory, step_index: int, quotes: Sequence[str]) -> Iterator[Quote]:
    if not 0 <= step_index < len(trajectory.steps):
        return
    held = [text for text in texts(trajectory.steps[step_index]) if text.strip()]
    own = [quote for quote in quotes if quote.strip() and any(quote in text for text in held)]
    for quote in own or [text[:QUOTE_CHARACTERS] for text in held[:1]]:
        yield Quote(step_index=step_index, quote=quote)
