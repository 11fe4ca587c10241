"""The rows of the table: ways of naming the decisive step, each fitted on the same runs that the tracer is trained on.

Rules: a way that scores steps names the first of the highest; the model-free rules are those that are served; a way
that needs several steps to be seen can be told from one that does not by the rows that see one step at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from schemas import Trajectory
from tracer.rules import RULES, UNCOUNTED, agent_of

from . import words
from .runs import Labelled, trajectory_of


class Named(NamedTuple):
    """Whom a way blames; None is nobody."""

    agent: str | None
    step_index: int | None


Way = Callable[[Trajectory], Named]


def highest(trajectory: Trajectory, scores: Sequence[float]) -> Named:
    """Name the step with the highest score, the first of equals."""
    step_index = scores.index(max(scores))
    return Named(agent_of(trajectory.steps[step_index]), step_index)


def rules() -> Mapping[str, Way]:
    """Return the model-free rules."""
    return {f"rule: {name}": _by_rule(name) for name in RULES}


def _by_rule(name: str) -> Way:
    def way(trajectory: Trajectory) -> Named:
        found = RULES[name](trajectory, UNCOUNTED)
        return Named(found.agent, found.step_index)

    return way


def bag_of_words(runs: Sequence[Labelled], seed: int = 0) -> Way:
    """Return the bag-of-words row, fitted on these runs."""
    fitted = words.fit([(trajectory_of(one.run), one.step_index) for one in runs], seed)
    return lambda trajectory: highest(trajectory, fitted.scores(trajectory))


def is_right(named: Named, found: Labelled) -> bool:
    """Tell whether a way named the decisive step."""
    return named.step_index == found.step_index
