"""Plays a run of a simulated system, plays it again from any step, and finds the decisive step by doing so.

Rules: a run is its conditions and its moves, nothing else; every turn's luck is derived from the conditions, the agent
and how many turns that agent has had, so a run played again differs only by the consequence of what was changed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas import Outcome, Result
from schemas.errors import SettingsError, StateError

from .chance import Voice, chance, stream
from .chat import Chat
from .desk import Desk
from .pipeline import Pipeline
from .system import Action, Move, System, Task

SYSTEMS: Mapping[str, System[Any]] = MappingProxyType({system.name: system for system in (Pipeline(), Desk(), Chat())})
MISTAKE_RATE = 0.3
MOST_STEPS = 60
"""Far above what any run takes: one that passes it goes round in circles."""


@dataclass(frozen=True)
class Conditions:
    """All that a run follows from; `faults` gives single agents a mistake rate of their own."""

    system: str
    seed: int
    mistake_rate: float = MISTAKE_RATE
    attempt: int = 0
    faults: tuple[tuple[str, float], ...] = ()

    def rate(self, agent: str) -> float:
        """Return the agent's mistake rate."""
        return dict(self.faults).get(agent, self.mistake_rate)


@dataclass(frozen=True)
class Run:
    """One run; `mistakes` are the steps at which an agent did not do what a faultless one would have done."""

    conditions: Conditions
    task: Task
    actions: tuple[Action, ...]
    outcome: Outcome
    mistakes: tuple[int, ...]

    @property
    def system(self) -> str:
        """The system's name."""
        return self.conditions.system

    @property
    def seed(self) -> int:
        """The seed of the task."""
        return self.conditions.seed

    @property
    def failed(self) -> bool:
        """Whether the environment found the outcome wrong."""
        return self.outcome.result is Result.FAILURE

    @property
    def trajectory_id(self) -> str:
        """The run's id, derived from its conditions; a run played again keeps it."""
        digest = sha256(repr(self.conditions).encode()).hexdigest()
        return f"sim-{self.system}-{self.seed}-{digest[:12]}"


class Turn(NamedTuple):
    """The point at which an agent acts: the state before it, and how often that agent has acted."""

    state: Any
    agent: str
    number: int


def start(conditions: Conditions) -> Run:
    """Play a run from its first step."""
    return _play(conditions, ())


def resume(run: Run, step_index: int, action: Action) -> Run:
    """Play a run again: its steps before the index as they were, the action there, and what follows from it."""
    _check_index(run, step_index)
    if action.agent != (agent := run.actions[step_index].agent):
        raise SettingsError(
            f"step {step_index!r} is the turn of {agent!r}, not of {action.agent!r}; correct that agent"
        )
    return _play(run.conditions, (*run.actions[:step_index], action))


def correct(run: Run, step_index: int) -> Action:
    """Return the action of a faultless agent at that step, after what really came before it."""
    return _act(run.conditions, turn_at(run, step_index), rate=0.0)


def faulty(run: Run, step_index: int, number: int = 0) -> Action | None:
    """Return an action with a mistake at that step, by the number one of several; None where none is possible."""
    turn = turn_at(run, step_index)
    action = _act(run.conditions, turn, fault=number)
    return None if action == _act(run.conditions, turn, rate=0.0) else action


def perform(run: Run, step_index: int, move: Move[Any]) -> Action:
    """Return the action that a move is at that step; tools are called."""
    return _perform(run.conditions, turn_at(run, step_index), move)


def decisive_step(run: Run) -> int | None:
    """Return the earliest step whose correction turns the failure into success; None if no single one does.

    A step that a faultless agent would have done just so is not played again: it would give the same run.
    """
    if not run.failed:
        return None
    for step_index, (turn, action) in enumerate(zip(turns(run), run.actions, strict=True)):
        corrected = _act(run.conditions, turn, rate=0.0)
        if corrected != action and not resume(run, step_index, corrected).failed:
            return step_index
    return None


def turns(run: Run) -> list[Turn]:
    """Return the point before every step."""
    _, state = system_of(run.system).open(run.seed)
    counts: Counter[str] = Counter()
    found = []
    for action in run.actions:
        found.append(Turn(state, action.agent, counts[action.agent]))
        counts[action.agent] += 1
        state = action.move.applied(state)
    return found


def turn_at(run: Run, step_index: int) -> Turn:
    """Return the point before one step."""
    _check_index(run, step_index)
    return turns(run)[step_index]


def system_of(name: str) -> System[Any]:
    """Return a system by name."""
    try:
        return SYSTEMS[name]
    except KeyError:
        raise SettingsError(f"no simulated system {name!r}; there are {', '.join(SYSTEMS)}") from None


def _check_index(run: Run, step_index: int) -> None:
    if not 0 <= step_index < len(run.actions):
        count = len(run.actions)
        raise SettingsError(f"step {step_index!r} is not in {run.trajectory_id!r}; name one from 0 to {count - 1}")


def _play(conditions: Conditions, prefix: Sequence[Action]) -> Run:
    system = system_of(conditions.system)
    task, state = system.open(conditions.seed)
    counts: Counter[str] = Counter()
    actions: list[Action] = []
    mistakes = []
    while (agent := system.next_agent(state)) is not None:
        turn = Turn(state, agent, counts[agent])
        action = prefix[len(actions)] if len(actions) < len(prefix) else _act(conditions, turn)
        if action.move != _decide(conditions, turn, rate=0.0):
            mistakes.append(len(actions))
        actions.append(action)
        counts[agent] += 1
        state = action.move.applied(state)
        if len(actions) > MOST_STEPS:
            raise StateError(f"the run of {task.task_id!r} does not end; its system needs a bound on its rounds")
    return Run(conditions, task, tuple(actions), system.check(state), tuple(mistakes))


def _act(conditions: Conditions, turn: Turn, rate: float | None = None, fault: int | None = None) -> Action:
    return _perform(conditions, turn, _decide(conditions, turn, rate, fault))


def _decide(conditions: Conditions, turn: Turn, rate: float | None = None, fault: int | None = None) -> Move[Any]:
    luck = chance(_key(conditions, turn), conditions.rate(turn.agent) if rate is None else rate, fault)
    return system_of(conditions.system).decide(turn.state, luck)


def _perform(conditions: Conditions, turn: Turn, move: Move[Any]) -> Action:
    said = move.said(turn.state, Voice(stream(*_key(conditions, turn), "words")))
    return Action(turn.agent, said.kind, said.content, said.tool, move)


def _key(conditions: Conditions, turn: Turn) -> tuple[object, ...]:
    return conditions.system, conditions.seed, conditions.attempt, turn.agent, turn.number
