"""What a benchmark says: each result a ratio against a baseline that was measured beside it, and whether that meets
its target; as a table, as JSON, and a progress line for every measurement.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

_BEGUN = time.monotonic()


class Target(NamedTuple):
    """What a ratio should be: at least, or at most, so much."""

    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def is_met(self, value: float) -> bool:
        """Whether a value is on the right side."""
        return value >= (self.at_least or 0.0) and (self.at_most is None or value <= self.at_most)


class Result(NamedTuple):
    """One line of the table."""

    name: str
    what: str
    ours: str
    baseline: str
    value: float
    """The ratio, or what the target is about."""
    target: Target | None = None
    rounds: int = 1

    @property
    def verdict(self) -> str:
        """Say whether the target is met."""
        if self.target is None:
            return ""
        return "met" if self.target.is_met(self.value) else "MISSED"


class Scale(NamedTuple):
    """How much is measured: `quick` only shows that everything runs."""

    rounds: int = 5
    quick: bool = False

    def of(self, full: int, quick: int) -> int:
        """Return one of two sizes."""
        return quick if self.quick else full


def progress(text: str) -> None:
    """Say what is being measured, on standard error."""
    print(f"[{time.monotonic() - _BEGUN:7.1f} s] {text}", file=sys.stderr, flush=True)


def ratio_of(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median of the ratios within the pairs (ours, baseline)."""
    return median(ours / baseline for ours, baseline in pairs)


def medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the median of each side; for show, since only the ratio counts."""
    return median(ours for ours, _ in pairs), median(baseline for _, baseline in pairs)


def in_pairs(
    rounds: int, what: str, ours: Callable[[], float], baseline: Callable[[], float]
) -> list[tuple[float, float]]:
    """Measure in turn, whoever begins alternating, so that a machine that slows down favours nobody."""
    pairs = []
    for number in range(1, rounds + 1):
        if number % 2:
            base = baseline()
            pairs.append((ours(), base))
        else:
            pairs.append((ours(), baseline()))
        own, base = pairs[-1]
        progress(f"{what}: round {number} of {rounds}: {own:,.4g} over {base:,.4g} is {own / base:.3f}")
    return pairs


def table(results: Iterable[Result]) -> str:
    """Return the table, as Markdown."""
    lines = [
        "|  | what | ours | over | ratio | target |  | rounds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.name} | {one.what} | {one.ours} | {one.baseline} | **{one.value:.2f}** | {one.target or ''} "
        f"| {one.verdict} | {one.rounds} |"
        for one in results
    ]
    return "\n".join(lines)
