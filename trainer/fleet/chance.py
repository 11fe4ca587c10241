"""What one turn of one agent leaves to luck: whether it slips, what it freely picks, and how it puts it.

Rules: the three streams are derived from the turn's key alone, so neither an earlier step nor a slip moves any
later draw; a slip changes the move and never the wording.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")

Slip = tuple[float, T]
"""A wrong move and its weight: it is made with probability weight * rate."""

OPENINGS = (
    "Right.",
    "On it.",
    "Here is my part.",
    "Picking this up.",
    "My turn.",
    "Going by what is above:",
    "Done.",
    "Next piece.",
    "Carrying on.",
    "As agreed:",
    "Short update:",
    "For the record:",
    "Thanks, got it.",
    "Taking it from here.",
)
CLOSINGS = (
    "That is all from me.",
    "I checked it before sending.",
    "This should be good to go.",
    "Nothing else to add.",
    "Ready for the next step.",
    "Shout if anything is unclear.",
    "I am confident in this.",
    "No open points on my side.",
    "Moving on.",
    "Took it straight from the notes above.",
    "Double-checked.",
    "We can build on that.",
)


def stream(*key: object) -> Random:
    """Return the random numbers of a key; the same on every machine."""
    return Random("/".join(map(str, key)))  # noqa: S311 - a simulation wants numbers that come again


def spread(weight: float, wrongs: Iterable[T]) -> list[Slip[T]]:
    """Share one weight evenly among wrong moves."""
    found = list(wrongs)
    return [(weight / len(found), wrong) for wrong in found]


def one_wrong(parts: Sequence[T], wrongs: Callable[[T], Iterable[T]]) -> list[tuple[T, ...]]:
    """Return the parts with one of them wrong, in every way."""
    return [(*parts[:at], wrong, *parts[at + 1 :]) for at, part in enumerate(parts) for wrong in wrongs(part)]


def swapped(parts: Sequence[T]) -> list[tuple[T, ...]]:
    """Return the parts with two unlike neighbours in each other's place, in every way."""
    pairs = enumerate(pairwise(parts))
    return [(*parts[:at], right, left, *parts[at + 2 :]) for at, (left, right) in pairs if left != right]


class Voice:
    """How an agent puts it: the phrasing of one turn."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def one_of(self, options: Sequence[T]) -> T:
        """Pick a phrasing."""
        return self._rng.choice(options)

    def say(self, options: Sequence[str]) -> str:
        """Pick a phrasing and, now and then, open or close with a pleasantry."""
        opening = self._rng.choice(OPENINGS) if self._rng.random() < 0.5 else ""
        body = self._rng.choice(options)
        closing = self._rng.choice(CLOSINGS) if self._rng.random() < 0.5 else ""
        return " ".join(part for part in (opening, body, closing) if part)


class Chance(NamedTuple):
    """The luck of one turn: `rate` scales every weight; a `forced` turn slips whatever the rate."""

    draw: float
    free: Random
    rate: float
    forced: bool = False

    def choose(self, right: T, slips: Iterable[Slip[T]]) -> T:
        """Return the right move or, by the draw, one of the wrong ones; at most one choice a turn."""
        wrongs = [(weight, wrong) for weight, wrong in slips if wrong != right]
        total = sum(weight for weight, _ in wrongs)
        if not total:
            return right
        rate = 1.0 / total if self.forced else min(self.rate, 1.0 / total)
        reached = 0.0
        for weight, wrong in wrongs:
            reached += weight * rate
            if self.draw < reached:
                return wrong
        return wrongs[-1][1] if self.forced else right


def chance(key: Sequence[object], rate: float, fault: int | None = None) -> Chance:
    """Return the luck of the turn with that key; `fault` forces a slip, another number another one."""
    slips = (*key, "slips") if fault is None else (*key, "fault", fault)
    return Chance(stream(*slips).random(), stream(*key, "free"), rate, forced=fault is not None)
