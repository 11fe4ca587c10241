"""Intervals and tests: pure functions over how often each trajectory was drawn.

Array suffixes: N trajectories, D draws, B blocks of equal confidence. `weights_D_N` says how often each trajectory is
in each draw; a row of ones is the data itself, so one function gives a figure and its draws.

Rules: task groups are drawn, not trajectories; a proportion without groups has Wilson's interval; two methods are
compared on the same draws, never by their intervals; what is not defined in a draw (no right or no wrong one) is left
out of it; nothing depends on the order of the trajectories but the draws themselves, which a seed fixes.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
DRAWS = 4000
BINS = 10
CELLS_AT_A_TIME = 2_000_000
Z = 1.959963984540054
"""Of a normal variable 95 % lie within plus and minus this."""


class Estimate(NamedTuple):
    """A figure and its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """How far one method is above another on the same draws."""

    value: float
    low: float | None
    high: float | None
    p: float
    """Two-sided: twice the smaller share of draws on either side of zero."""


def draws_of(groups: Sequence[str], draws: int = DRAWS, seed: int = 0) -> Array:
    """Draw as many task groups as there are, with replacement, `draws` times; return weights_D_N."""
    names = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    places_N = np.array([names[group] for group in groups], dtype=np.intp)
    share = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), share, size=draws)
    return counts[:, places_N].astype(np.float64)


def wilson(hits: float, count: int) -> Estimate:
    """Return a proportion with Wilson's interval, which holds it whatever rounding does."""
    if count == 0:
        return Estimate(None, None, None)
    share, squared = hits / count, Z * Z / count
    middle = (share + squared / 2) / (1 + squared)
    half = Z / (1 + squared) * math.sqrt(share * (1 - share) / count + squared / (4 * count))
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def estimated(statistic: Statistic, weights_D_N: Array) -> Estimate:
    """Return a figure with the interval of its draws.

    The interval is widened to hold the figure itself: a binned error is larger in nearly every draw than in the data.
    """
    value = float(statistic(np.ones((1, weights_D_N.shape[1])))[0])
    if math.isnan(value):
        return Estimate(None, None, None)
    low, high = _bounds(_drawn(statistic, weights_D_N), weights_D_N)
    if low is None or high is None:
        return Estimate(value, None, None)
    return Estimate(value, min(low, value), max(high, value))


def compared(first: Statistic, second: Statistic, weights_D_N: Array, *, differing: int) -> Difference:
    """Return how far the first is above the second, each computed on the same draws.

    `differing` task groups are not the same under both; fewer than that could be told by no test, so p is never below
    that of as many equal signs, 2 to the power of 1 - differing.
    """
    ones_1_N = np.ones((1, weights_D_N.shape[1]))
    value = float((first(ones_1_N) - second(ones_1_N))[0])
    drawn_D = _drawn(first, weights_D_N) - _drawn(second, weights_D_N)
    low, high = _bounds(drawn_D, weights_D_N)
    return Difference(value, low, high, _p(drawn_D, differing))


def groups_differing(groups: Sequence[str], first_N: Array, second_N: Array) -> int:
    """Return how many task groups are not the same under two methods."""
    sums: dict[str, float] = {}
    for group, gap in zip(groups, (first_N - second_N).tolist(), strict=True):
        sums[group] = sums.get(group, 0.0) + gap
    return sum(abs(total) > 1e-12 for total in sums.values())


def _drawn(statistic: Statistic, weights_D_N: Array) -> Array:
    """Compute a figure of every draw, some at a time, so that memory stays bounded."""
    parts = 1 + weights_D_N.size // CELLS_AT_A_TIME
    return np.concatenate([statistic(part) for part in np.array_split(weights_D_N, parts)])


def _p(drawn_D: Array, differing: int) -> float:
    told_D = np.round(drawn_D[~np.isnan(drawn_D)], 12)  # sums of the same shares in another order are no difference
    tail = min(int(np.sum(told_D <= 0)), int(np.sum(told_D >= 0)))
    return min(1.0, max(2 * (tail + 1) / (len(told_D) + 1), 2.0 ** (1 - min(differing, 1000))))


def _bounds(drawn_D: Array, weights_D_N: Array) -> tuple[float | None, float | None]:
    """Return what 95 % of the draws lie within; nothing where there is one group, and every draw the same."""
    drawn_D = drawn_D[~np.isnan(drawn_D)]
    if not len(drawn_D) or (weights_D_N == weights_D_N[:1]).all():
        return None, None
    low, high = np.percentile(drawn_D, [2.5, 97.5])
    return float(low), float(high)


def mean(weights_D_N: Array, values_N: Array) -> Array:
    """Return the mean of what was drawn."""
    return _ratio(weights_D_N @ values_N, weights_D_N.sum(axis=1))


def brier(weights_D_N: Array, confidence_N: Array, right_N: Array) -> Array:
    """Return the mean squared distance of the confidence from 1 where right, from 0 where wrong."""
    return mean(weights_D_N, (confidence_N - right_N) ** 2)


def bin_of(confidence_N: Array) -> NDArray[np.intp]:
    """Return which of ten equal bins of [0, 1] each confidence lies in."""
    return np.clip((confidence_N * BINS).astype(np.intp), 0, BINS - 1)


def calibration_error(weights_D_N: Array, confidence_N: Array, right_N: Array) -> Array:
    """Return the expected calibration error: |mean confidence - share right| of each bin, weighted by its size."""
    bins_N = bin_of(confidence_N)
    gaps_D = np.zeros(len(weights_D_N))
    for one in range(BINS):
        inside = bins_N == one
        gaps_D += np.abs(weights_D_N[:, inside] @ (confidence_N - right_N)[inside])
    return _ratio(gaps_D, weights_D_N.sum(axis=1))


def auroc(weights_D_N: Array, confidence_N: Array, right_N: Array) -> Array:
    """Return how often a right one is surer than a wrong one, ties counting half."""
    right_D_B, wrong_D_B = _blocks(weights_D_N, confidence_N, right_N)
    surer_D_B = np.cumsum(right_D_B, axis=1) - right_D_B
    won_D = (wrong_D_B * (surer_D_B + right_D_B / 2)).sum(axis=1)
    return _ratio(won_D, right_D_B.sum(axis=1) * wrong_D_B.sum(axis=1))


def risk_coverage(weights_D_N: Array, confidence_N: Array, right_N: Array) -> Array:
    """Return the area under the risk-coverage curve: the mean share wrong among the surest 1, 2, … N.

    Among equally sure ones every order is as likely, so a constant confidence has the share wrong of all. Within a
    block of m with e wrong, behind M with E wrong, the risk at the j-th is (E + j e/m) / (M + j).
    """
    right_D_B, wrong_D_B = _blocks(weights_D_N, confidence_N, right_N)
    size_D_B = right_D_B + wrong_D_B
    before_D_B = np.cumsum(size_D_B, axis=1) - size_D_B
    wrong_before_D_B = np.cumsum(wrong_D_B, axis=1) - wrong_D_B
    rate_D_B = np.divide(wrong_D_B, size_D_B, out=np.zeros_like(size_D_B), where=size_D_B > 0)
    most = round(float(size_D_B.sum(axis=1).max(initial=0.0)))
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])
    grown_D_B = harmonic[_whole(before_D_B + size_D_B)] - harmonic[_whole(before_D_B)]
    area_D = (size_D_B * rate_D_B + (wrong_before_D_B - rate_D_B * before_D_B) * grown_D_B).sum(axis=1)
    return _ratio(area_D, size_D_B.sum(axis=1))


def _blocks(weights_D_N: Array, confidence_N: Array, right_N: Array) -> tuple[Array, Array]:
    """Return how many right and wrong ones each draw has at every distinct confidence, the surest first."""
    order_N = np.argsort(-confidence_N, kind="stable")
    falls_N = np.flatnonzero(np.diff(confidence_N[order_N], prepend=np.inf))
    sorted_D_N, sorted_right_N = weights_D_N[:, order_N], right_N[order_N]
    right_D_B = np.add.reduceat(sorted_D_N * sorted_right_N, falls_N, axis=1)
    return right_D_B, np.add.reduceat(sorted_D_N * (1 - sorted_right_N), falls_N, axis=1)


def _whole(values: Array) -> NDArray[np.intp]:
    return np.rint(values).astype(np.intp)


def _ratio(over: Array, under: Array) -> Array:
    found: Array = np.divide(over, under, out=np.full(len(under), np.nan), where=under > 0)
    return found
