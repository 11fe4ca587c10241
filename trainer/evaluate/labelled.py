"""A failed trajectory with the pair that broke it: what every loader gives, and one line of a TracerTraj file.

Rules: a label names an agent and a step of its own trajectory, not necessarily the agent that acts there; what shares
a task group (a question, a task) is never independent, and is drawn together; the digest depends on content alone.
"""

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import model_validator

from schemas import Label, Outcome, Trajectory
from schemas.fields import Contract, Id, Name


class Origin(StrEnum):
    """How the failure came about."""

    INJECTED = "injected"
    """We perturbed a run that went well."""
    NATURAL = "natural"


class LabelledTrajectory(Contract):
    """One failed trajectory, and what is true of it."""

    trajectory: Trajectory
    label: Label
    origin: Origin
    task_group: Id
    part: Name = ""
    """The part of its data set, such as a half; constants are picked within one."""
    kinds: tuple[Name, ...] = ()
    """Further names under which it is reported apart, such as a kind of mistake."""

    @model_validator(mode="after")
    def _is_of_one_piece(self) -> Self:
        if self.label.trajectory_id != self.trajectory.trajectory_id:
            raise ValueError(f"the label is of {self.label.trajectory_id!r}, not of {self.trajectory.trajectory_id!r}")
        if self.label.step_index >= len(self.trajectory.steps):
            raise ValueError(f"step {self.label.step_index} is labelled, and there are {len(self.trajectory.steps)}")
        return self

    @property
    def agent(self) -> str:
        """The decisive agent, by its bare name."""
        return bare_name(self.label.agent)

    @property
    def length(self) -> int:
        """How many steps there are."""
        return len(self.trajectory.steps)


class Dataset(NamedTuple):
    """What is evaluated on."""

    name: str
    digest: str
    items: tuple[LabelledTrajectory, ...]

    def first(self, limit: int | None) -> Self:
        """Return the first so many of each part under the same digest."""
        if limit is None:
            return self
        seen: dict[str, int] = {}
        kept = []
        for item in self.items:
            seen[item.part] = seen.get(item.part, 0) + 1
            if seen[item.part] <= limit:
                kept.append(item)
        return self._replace(items=tuple(kept))


def dataset_of(name: str, items: Iterable[LabelledTrajectory]) -> Dataset:
    """Name a data set by what is in it."""
    kept = tuple(items)
    digest = hashlib.sha256()
    for item in kept:
        digest.update(item.model_dump_json().encode() + b"\n")
    return Dataset(name, digest.hexdigest()[:16], kept)


def bare_name(agent: str) -> str:
    """Return an agent's name without the voice it speaks in, as `tracer.rules` names agents."""
    return agent.partition(" (")[0] or agent


def without_truth(trajectory: Trajectory) -> Trajectory:
    """Return the trajectory as someone sees it who doesn't know the right answer."""
    steps = tuple(
        step if step.outcome is None else step.model_copy(update={"outcome": _blind(step.outcome)})
        for step in trajectory.steps
    )
    outcome = trajectory.outcome and _blind(trajectory.outcome)
    return trajectory.model_copy(update={"steps": steps, "outcome": outcome})


def _blind(outcome: Outcome) -> Outcome:
    """Take the reason away too: an evaluator usually quotes the answer in it."""
    return outcome.model_copy(update={"ground_truth": None, "reason": None})
