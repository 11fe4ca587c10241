"""Labelled trajectories for the tests of the evaluation, and tracers that say what they are told."""

from collections.abc import Callable, Sequence

from schemas import Label, LabelSource, Trajectory, VerdictStatus
from tests.factories import START, step, trajectory
from tracer.protocol import Finding
from trainer.evaluate.labelled import LabelledTrajectory, Origin


def labelled(
    name: str = "t1",
    agents: Sequence[str] = ("planner", "coder", "critic"),
    gold: int = 1,
    *,
    agent: str | None = None,
    group: str | None = None,
    origin: Origin = Origin.NATURAL,
    part: str = "",
    kinds: tuple[str, ...] = (),
) -> LabelledTrajectory:
    """Return a trajectory in which these agents speak in turn, and who broke it where."""
    steps = [step(name, index, agent=speaker) for index, speaker in enumerate(agents)]
    return LabelledTrajectory(
        trajectory=trajectory(steps),
        label=Label(
            label_id=f"{name}-label",
            trajectory_id=name,
            agent=agent or agents[gold],
            step_index=gold,
            source=LabelSource.HUMAN,
            annotator="a person",
            labelled_at=START,
        ),
        origin=origin,
        task_group=group or name,
        part=part,
        kinds=kinds,
    )


def blaming(agent: str, step_index: int, **fields: object) -> Finding:
    """Return a finding that names this pair."""
    return Finding.model_validate(
        {"status": VerdictStatus.ATTRIBUTED, "agent": agent, "step_index": step_index} | fields
    )


class Told:
    """A tracer that answers by a function, and remembers what it was shown."""

    name = "told"

    def __init__(self, answer: Callable[[Trajectory], Finding], version: str = "1") -> None:
        self.version = version
        self.shown: list[Trajectory] = []
        self._answer = answer

    async def trace(self, of: Trajectory) -> Finding:
        self.shown.append(of)
        return self._answer(of)
