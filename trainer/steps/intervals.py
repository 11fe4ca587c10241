"""How sure a share of right answers is, and whether one way of answering beats another on the same runs.

Rules: pure; a share has Wilson's 95 % interval; two ways are compared run by run, by McNemar's exact test on the runs
that just one of them got right (each run is a task of its own), never by holding two intervals side by side.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from trainer.evaluate.statistics import wilson


class Share(NamedTuple):
    """So many right of so many, with a 95 % interval."""

    right: int
    of: int
    low: float
    high: float

    def __str__(self) -> str:
        """Write it in per cent."""
        if not self.of:
            return "-"
        return f"{100 * self.right / self.of:.0f} ({100 * self.low:.0f} to {100 * self.high:.0f})"


def share(right: Sequence[bool]) -> Share:
    """Return the share of right answers."""
    found = wilson(sum(right), len(right))
    low, high = (0.0, 1.0) if found.low is None or found.high is None else (found.low, found.high)
    return Share(sum(right), len(right), low, high)


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Return the two-sided p that two ways, right on these same runs, are equally good."""
    only_one = sum(a and not b for a, b in zip(one, other, strict=True))
    only_other = sum(b and not a for a, b in zip(one, other, strict=True))
    n, k = only_one + only_other, min(only_one, only_other)
    if not n:
        return 1.0
    return min(1.0, float(2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n))
