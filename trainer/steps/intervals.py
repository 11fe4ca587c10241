"""How sure a share of right answers is, and whether one way of answering beats another on the same runs.

Rules: pure; a share has Wilson's 95 % interval; two ways are compared run by run, by McNemar's exact test on the runs
that just one of them got right (each run is a task of its own), never by holding two intervals side by side.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

Z = 1.959964


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
    n, k = len(right), sum(right)
    if not n:
        return Share(0, 0, 0.0, 1.0)
    middle = (k + Z * Z / 2) / (n + Z * Z)
    half = Z / (n + Z * Z) * math.sqrt(k * (n - k) / n + Z * Z / 4)
    return Share(k, n, max(0.0, middle - half), min(1.0, middle + half))


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Return the two-sided p that two ways, right on these same runs, are equally good."""
    only_one = sum(a and not b for a, b in zip(one, other, strict=True))
    only_other = sum(b and not a for a, b in zip(one, other, strict=True))
    n, k = only_one + only_other, min(only_one, only_other)
    if not n:
        return 1.0
    return min(1.0, float(2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n))
