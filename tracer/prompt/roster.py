"""Who acts in a trajectory: every agent gets a short id, so that no name reaches a grammar or a parser.

Rules: ids go by first appearance (`A1`, `A2`, …); one agent that speaks in several voices (`Orchestrator (thought)`)
is one agent; a name that can't stand on a verdict is still somebody here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas import StepEvent
from tracer.rules import agent_of


class Roster(NamedTuple):
    """The agents of one trajectory."""

    names: tuple[str, ...]
    """By short id: the first is `A1`."""
    acting: tuple[int, ...]
    """For every step, whose it is; an index into `names`."""

    def id_of(self, step_index: int) -> str:
        """Return the short id of whoever acts at a step."""
        return f"A{self.acting[step_index] + 1}"

    def agent_at(self, step_index: int) -> str:
        """Return the name of whoever acts at a step."""
        return self.names[self.acting[step_index]]

    def name_of(self, short_id: str) -> str | None:
        """Return the name behind a short id; None where there is none."""
        number = short_id[1:]
        if not short_id.startswith("A") or not number.isascii() or not number.isdigit() or len(number) > 9:
            return None
        at = int(number) - 1
        return self.names[at] if 0 <= at < len(self.names) else None

    @property
    def ids(self) -> tuple[str, ...]:
        """Every short id, in order."""
        return tuple(f"A{number + 1}" for number in range(len(self.names)))


def roster_of(steps: Sequence[StepEvent]) -> Roster:
    """Return the agents of a trajectory's steps."""
    numbers: dict[str, int] = {}
    acting = tuple(numbers.setdefault(agent_of(step), len(numbers)) for step in steps)
    return Roster(tuple(numbers), acting)
