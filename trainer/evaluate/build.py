"""A labelled trajectory from what a foreign file says, for the loaders that read no trajectories of ours.

Rules: steps keep their order and content; times are made up and the same on every machine, so that a data set's digest
is that of its content; the ground truth is in the trajectory's outcome and in no step.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from schemas import (
    CloseReason,
    KeySource,
    Label,
    LabelSource,
    Outcome,
    Result,
    RouteReason,
    Routing,
    StepEvent,
    Trajectory,
)
from schemas.fields import EARLIEST

from .labelled import LabelledTrajectory, Origin

_STEP_TIME = timedelta(seconds=1)


class Said(NamedTuple):
    """One step."""

    agent: str
    content: str
    role: str | None = None


class Gold(NamedTuple):
    """What its annotators found."""

    agent: str
    step_index: int
    reason: str | None = None


class About(NamedTuple):
    """What a file says beside the steps."""

    trajectory_id: str
    system: str
    task_group: str
    task: str | None
    ground_truth: str | None
    origin: Origin
    part: str


def labelled(about: About, said: Sequence[Said], gold: Gold, annotator: str) -> LabelledTrajectory:
    """Put it together; raises pydantic's ValidationError where a name or an index can't be."""
    return LabelledTrajectory(
        trajectory=_trajectory(about, said),
        label=Label(
            label_id=f"{about.trajectory_id}/{annotator}"[-256:],
            trajectory_id=about.trajectory_id,
            agent=gold.agent,
            step_index=gold.step_index,
            event_id=_event_id(gold.step_index),
            source=LabelSource.HUMAN if about.origin is Origin.NATURAL else LabelSource.FAULT_INJECTION,
            annotator=annotator,
            reason=gold.reason,
            labelled_at=EARLIEST,
        ),
        origin=about.origin,
        task_group=about.task_group,
        part=about.part,
    )


def _trajectory(about: About, said: Sequence[Said]) -> Trajectory:
    steps = tuple(_step(about, index, one) for index, one in enumerate(said))
    end = EARLIEST + len(steps) * _STEP_TIME
    return Trajectory(
        trajectory_id=about.trajectory_id,
        opened_at=EARLIEST,
        revision=1,
        key_source=KeySource.RUN_ID,
        tenant="default",
        system=about.system,
        task_id=about.task_group,
        task=about.task,
        outcome=Outcome(result=Result.FAILURE, ground_truth=about.ground_truth),
        outcome_at=end,
        close_reason=CloseReason.COMPLETED,
        closed_at=end,
        routing=Routing(reason=RouteReason.FAILURE),
        steps=steps,
    )


def _step(about: About, index: int, said: Said) -> StepEvent:
    return StepEvent(
        event_id=_event_id(index),
        trajectory_id=about.trajectory_id,
        task_id=about.task_group,
        task=about.task if index == 0 else None,
        system=about.system,
        agent=said.agent,
        agent_role=said.role,
        step_index=index,
        content=said.content,
        started_at=EARLIEST + index * _STEP_TIME,
    )


def _event_id(step_index: int) -> str:
    return f"step-{step_index}"
