"""Which agents and actions failed runs of one task have in common and passed ones have not; no model is asked.

Rules: pure; an action is who did it, its kind, its tool and its error, never its text, since two runs seldom say the
same; suspiciousness is Ochiai's: failed runs with it, over the root of (all failed runs times all runs with it); of one
run the step whose action and agent are the most suspicious is named, the earliest of equals; too few runs: nothing.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from schemas import StepEvent, StepKind, Trajectory
from tracer.rules import agent_of, error_of

from .protocol import Guess, Scored

NAME = "spectrum"
LEAST_FAILED = 2
LEAST_PASSED = 2
_Seen = TypeVar("_Seen", bound=Hashable)


class Run(NamedTuple):
    """One run of the task."""

    trajectory: Trajectory
    is_failed: bool


class Action(NamedTuple):
    """What an agent did, as far as two runs can be compared."""

    agent: str
    kind: StepKind
    tool: str | None
    error: str | None


class Suspicion(NamedTuple):
    """How much more an agent, or an action of it, belongs to failed runs than to passed ones."""

    agent: str
    action: Action | None
    """None where the agent as a whole is meant."""
    score: float
    """From 0 to 1; 1: in every failed run and in no passed one."""
    failed: int
    passed: int
    """In how many runs it is."""


class Spectrum(NamedTuple):
    """All that was compared, the most suspicious first."""

    agents: tuple[Suspicion, ...]
    actions: tuple[Suspicion, ...]


def spectrum_of(
    runs: Sequence[Run], *, least_failed: int = LEAST_FAILED, least_passed: int = LEAST_PASSED
) -> Spectrum | None:
    """Compare the runs of one task; None where there are too few."""
    failed = [run.trajectory for run in runs if run.is_failed]
    passed = [run.trajectory for run in runs if not run.is_failed]
    if len(failed) < max(least_failed, 1) or len(passed) < least_passed:
        return None
    agents = _ranked((agent, None, counts) for agent, counts in _suspicions(failed, passed, agent_of).items())
    actions = _ranked(
        (action.agent, action, counts) for action, counts in _suspicions(failed, passed, action_of).items()
    )
    return Spectrum(agents, actions)


def guess_of(spectrum: Spectrum | None, trajectory: Trajectory) -> Guess:
    """Rank the steps of one of the runs; empty where there were too few."""
    if spectrum is None:
        return Guess(())
    agents = {one.agent: one.score for one in spectrum.agents}
    actions = {one.action: one.score for one in spectrum.actions}
    scored = [
        Scored(agent_of(step), index, (actions.get(action_of(step), 0.0) + agents.get(agent_of(step), 0.0)) / 2.0)
        for index, step in enumerate(trajectory.steps)
    ]
    ranked = tuple(sorted(scored, key=lambda one: (-one.score, one.step_index)))
    return Guess(ranked, raw=ranked[0].score if ranked else None)


def action_of(step: StepEvent) -> Action:
    """Return what a step is compared by."""
    return Action(agent_of(step), step.kind, step.tool.name if step.tool else None, error_of(step))


def ochiai(failed: int, passed: int, all_failed: int) -> float:
    """Return the suspiciousness of what is in so many failed and passed runs."""
    return failed / math.sqrt(all_failed * (failed + passed)) if failed else 0.0


def _suspicions(
    failed: Sequence[Trajectory], passed: Sequence[Trajectory], seen: Callable[[StepEvent], _Seen]
) -> dict[_Seen, tuple[float, int, int]]:
    in_failed, in_passed = _runs_with(failed, seen), _runs_with(passed, seen)
    return {
        one: (ochiai(in_failed[one], in_passed[one], len(failed)), in_failed[one], in_passed[one])
        for one in in_failed | in_passed
    }


def _runs_with(trajectories: Iterable[Trajectory], seen: Callable[[StepEvent], _Seen]) -> Counter[_Seen]:
    return Counter(one for trajectory in trajectories for one in {seen(step) for step in trajectory.steps})


def _ranked(counted: Iterable[tuple[str, Action | None, tuple[float, int, int]]]) -> tuple[Suspicion, ...]:
    found = (Suspicion(agent, action, *counts) for agent, action, counts in counted)
    return tuple(sorted(found, key=lambda one: (-one.score, one.agent, _order(one.action))))


def _order(action: Action | None) -> tuple[str, ...]:
    return () if action is None else (action.kind, action.tool or "", action.error or "")
