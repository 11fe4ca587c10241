"""What a simulated multi-agent system is made of: moves, actions, and the protocol by which it is played.

Rules: a move is what an agent decided, in values; what it says and what it changes follow from the move and the
state alone, so that a run is its moves and can be played again from any step; tools are never wrong, agents are;
the state knows the truth, but an agent's decision looks only at what that agent has been told or has looked up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from schemas import Outcome, StepKind, ToolUse

from .chance import Chance, Voice

S = TypeVar("S")


class Said(NamedTuple):
    """What a move looks like from outside."""

    kind: StepKind
    content: str
    tool: ToolUse | None = None


class Move(Protocol[S]):
    """One decision of one agent; moves are frozen dataclasses, so `dataclasses.replace` corrects or perturbs them."""

    def said(self, state: S, voice: Voice) -> Said:
        """Carry the move out, tools included, and return what the others see of it."""
        ...

    def applied(self, state: S) -> S:
        """Return the state after the move."""
        ...


@dataclass(frozen=True)
class Action:
    """One step of a run: the move, and what was said and done with it."""

    agent: str
    kind: StepKind
    content: str
    tool: ToolUse | None
    move: Move[Any]


@dataclass(frozen=True)
class Task:
    """What the fleet was asked to do, as its agents read it."""

    task_id: str
    text: str


class System(Protocol[S]):
    """A fleet's system: who is in it, which tasks it gets, who acts when and how, and whether it succeeded."""

    @property
    def name(self) -> str:
        """The system's name on the wire."""
        ...

    @property
    def agents(self) -> Mapping[str, str]:
        """Every agent with its role."""
        ...

    def open(self, seed: int) -> tuple[Task, S]:
        """Return the task of a seed, and the state that a run of it starts in."""
        ...

    def next_agent(self, state: S) -> str | None:
        """Whose turn it is; None when the run is over."""
        ...

    def decide(self, state: S, chance: Chance) -> Move[S]:
        """Return what that agent does; without a slip of chance, what a faultless one would do there."""
        ...

    def check(self, state: S) -> Outcome:
        """Compare what the run left behind with the truth."""
        ...
