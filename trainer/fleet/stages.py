"""The stages that programs of the coding pipeline are made of: how they are told, coded, mistaken and checked.

Rules: a mistaken stage is the right stage of another task; only the last stage of a program folds the list.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from .digits import misread
from .operations import OPS, Role, Values


@dataclass(frozen=True)
class Stage:
    """One stage of a program: an operation and its number."""

    op: str
    k: int = 0

    def words(self, phrasing: int) -> str:
        """Say the stage; every `phrasing` is one of a few."""
        options = OPS[self.op].words
        return options[phrasing % len(options)].format(k=self.k)

    def code(self, coding: int) -> str:
        """Return the body of a function of `values` that does the stage."""
        options = OPS[self.op].codes
        return options[coding % len(options)].format(k=self.k)

    def slips(self) -> list["Stage"]:
        """Return what the stage is easily taken for: its neighbours, and its number misread."""
        op = OPS[self.op]
        neighbours = [Stage(near, self.k if OPS[near].parameters else 0) for near in op.near]
        numbers = misread(self.k) if op.parameters else ()
        return [*neighbours, *(Stage(self.op, k) for k in numbers if k > 1)]


def meaning(stages: Iterable[Stage], values: Iterable[int]) -> int:
    """Return what a program of these stages should give; the last of them folds the list."""
    result: Values | int = list(values)
    for stage in stages:
        assert isinstance(result, list), "only the last stage folds"
        result = OPS[stage.op].means(result, stage.k)
    assert isinstance(result, int), "the last stage folds"
    return result


def draw(role: Role, rng: Random) -> Stage:
    """Draw a stage of a role."""
    name = rng.choice([name for name, op in OPS.items() if op.role is role])
    bounds = OPS[name].parameters
    return Stage(name, rng.randint(*bounds) if bounds else 0)
