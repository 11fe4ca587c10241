"""The sheet of the table desk: what was planned, looked up and worked out, and what is to be done next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .tables import Calc, Quantity, Question


class Act(StrEnum):
    """What is to be done next."""

    PLAN = "plan"
    QUERY = "query"
    REPORT = "report"
    AUDIT = "audit"
    COMPUTE = "compute"
    STATE = "state"
    VERIFY = "verify"
    REFETCH = "refetch"
    RECOUNT = "recount"
    ANSWER = "answer"


class Todo(NamedTuple):
    """One thing to do, for a slot where it concerns one."""

    act: Act
    slot: str = ""


@dataclass(frozen=True)
class Sheet:
    """All that the desk has in hand; `values` are what the agents reported, not what the tools showed."""

    question: Question
    todo: tuple[Todo, ...] = (Todo(Act.PLAN),)
    slots: Mapping[str, Quantity] = field(default_factory=dict)
    calcs: Mapping[str, Calc] = field(default_factory=dict)
    shown: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    values: Mapping[str, int] = field(default_factory=dict)
    computed: Mapping[str, int] = field(default_factory=dict)
    answer: int | None = None

    def rest(self, *more: Todo) -> tuple[Todo, ...]:
        """Return what is left to do after the present thing, with more put before it."""
        return (*more, *self.todo[1:])

    @property
    def slot(self) -> str:
        """The slot that the present thing concerns."""
        return self.todo[0].slot


def counting(slots: Iterable[str]) -> list[Todo]:
    """Return what it takes to work the slots out."""
    return [Todo(act, slot) for slot in slots for act in (Act.COMPUTE, Act.STATE)]


def lookups(slots: Mapping[str, Quantity]) -> list[Todo]:
    """Return what it takes to fill the slots."""
    return [Todo(act, slot) for slot in slots for act in (Act.QUERY, Act.REPORT)]
