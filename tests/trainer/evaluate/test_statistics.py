"""Intervals and tests: numbers by hand, and what holds for all numbers."""

import random
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluate.statistics import (
    CELLS_AT_A_TIME,
    Array,
    auroc,
    brier,
    calibration_error,
    compared,
    draws_of,
    estimated,
    groups_differing,
    mean,
    risk_coverage,
    wilson,
)

PAIRS = st.lists(st.tuples(st.integers(0, 20).map(lambda tenth: tenth / 20), st.booleans()), min_size=1, max_size=25)


def once(count: int) -> Array:
    return np.ones((1, count))


def array(*values: float) -> Array:
    return np.array(values, dtype=np.float64)


def split(pairs: list[tuple[float, bool]]) -> tuple[Array, Array]:
    return array(*(sure for sure, _ in pairs)), array(*(float(right) for _, right in pairs))


# ---- by hand -------------------------------------------------------------------------------------------------------


def test_wilsons_interval_is_that_of_the_textbooks() -> None:
    eight = wilson(8, 10)
    assert eight.value == 0.8
    assert [eight.low, eight.high] == pytest.approx([0.4902, 0.9433], abs=1e-4)
    none = wilson(0, 10)
    assert [none.low, none.high] == pytest.approx([0.0, 3.8415 / 13.8415], abs=1e-4)
    assert wilson(0, 0).value is None


def test_58_cases_have_a_half_width_of_about_ten_points() -> None:
    found = wilson(11, 58)
    assert found.low is not None
    assert found.high is not None
    assert 0.08 < (found.high - found.low) / 2 < 0.12


def test_the_brier_score_is_the_mean_squared_distance() -> None:
    sure, right = array(0.9, 0.6, 0.2), array(1, 0, 0)
    assert brier(once(3), sure, right)[0] == pytest.approx((0.01 + 0.36 + 0.04) / 3)


def test_the_calibration_error_weighs_every_bins_gap_by_its_size() -> None:
    sure, right = array(0.91, 0.95, 0.25, 0.25), array(1, 0, 0, 0)
    # two at 0.93 of which half are right, two at 0.25 of which none are
    assert calibration_error(once(4), sure, right)[0] == pytest.approx(0.5 * 0.43 + 0.5 * 0.25)


def test_a_confidence_of_one_lies_in_the_last_bin() -> None:
    assert calibration_error(once(2), array(1.0, 1.0), array(1, 1))[0] == 0.0


def test_auroc_counts_pairs_and_half_of_the_ties() -> None:
    sure, right = array(0.9, 0.5, 0.5, 0.1), array(1, 1, 0, 0)
    # of four pairs right over wrong three are in order, one is a tie
    assert auroc(once(4), sure, right)[0] == pytest.approx(3.5 / 4)


def test_auroc_is_not_defined_where_all_are_right() -> None:
    assert np.isnan(auroc(once(2), array(0.9, 0.1), array(1, 1))[0])


def test_the_risk_coverage_area_is_the_mean_share_wrong_among_the_surest() -> None:
    sure, right = array(0.9, 0.8, 0.7, 0.1), array(1, 0, 1, 0)
    # the surest 1, 2, 3, 4: none, one, one, two wrong
    assert risk_coverage(once(4), sure, right)[0] == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)


def test_equally_sure_ones_are_taken_in_every_order_at_once() -> None:
    sure, right = array(0.9, 0.5, 0.5), array(0, 1, 0)
    # behind one wrong come half a wrong one, then the other half
    assert risk_coverage(once(3), sure, right)[0] == pytest.approx((1 + 1.5 / 2 + 2 / 3) / 3)


def test_a_difference_that_every_group_shares_is_as_sure_as_so_many_equal_signs() -> None:
    groups = [f"g{number}" for number in range(3)]
    own, other = array(1, 1, 1), array(0, 0, 0)
    found = compared(
        partial(mean, values_N=own),
        partial(mean, values_N=other),
        draws_of(groups),
        differing=groups_differing(groups, own, other),
    )
    assert (found.value, found.low, found.high, found.p) == (1.0, 1.0, 1.0, 0.25)


def test_two_equal_methods_differ_by_nothing_for_certain() -> None:
    same = array(1, 0, 1, 1, 0)
    found = compared(partial(mean, values_N=same), partial(mean, values_N=same), draws_of(list("abcde")), differing=0)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_trajectories_of_one_group_are_drawn_together() -> None:
    drawn = draws_of(["a", "b", "a", "c"], draws=50)
    assert np.array_equal(drawn[:, 0], drawn[:, 2])
    assert not np.array_equal(drawn[:, 0], drawn[:, 1])
    assert set((drawn[:, 0] + drawn[:, 1] + drawn[:, 3]).tolist()) == {3.0}


def test_copies_of_the_same_answers_make_no_interval_narrower() -> None:
    hits = array(*([1, 0] * 10))
    alone = estimated(partial(mean, values_N=hits), draws_of([str(number) for number in range(20)]))
    copied = estimated(partial(mean, values_N=np.tile(hits, 5)), draws_of([str(number % 20) for number in range(100)]))
    assert copied == alone


def test_one_group_alone_has_no_interval() -> None:
    found = estimated(partial(mean, values_N=array(1, 0)), draws_of(["a", "a"]))
    assert (found.value, found.low, found.high) == (0.5, None, None)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    groups = [str(number) for number in range(10)]
    assert np.array_equal(draws_of(groups, seed=3), draws_of(groups, seed=3))
    assert not np.array_equal(draws_of(groups, seed=3), draws_of(groups, seed=4))


def test_draws_that_are_computed_in_parts_are_the_same_draws() -> None:
    hits = array(*([1, 0, 0] * 400))
    drawn = draws_of([str(number) for number in range(1200)])
    assert drawn.size > CELLS_AT_A_TIME
    found = estimated(partial(mean, values_N=hits), drawn)
    assert (found.low, found.high) == tuple(np.percentile(mean(drawn, hits), [2.5, 97.5]))


def test_a_bootstrap_interval_of_a_proportion_is_about_wilsons() -> None:
    hits = array(*([1] * 60 + [0] * 140))
    drawn = estimated(partial(mean, values_N=hits), draws_of([str(number) for number in range(200)]))
    known = wilson(60, 200)
    assert [drawn.low, drawn.high] == pytest.approx([known.low, known.high], abs=0.015)


# ---- whatever the numbers ------------------------------------------------------------------------------------------


@given(PAIRS)
def test_a_constant_confidence_has_the_share_wrong_as_its_area(pairs: list[tuple[float, bool]]) -> None:
    _, right = split(pairs)
    flat = np.full(len(right), 0.5)
    assert risk_coverage(once(len(right)), flat, right)[0] == pytest.approx(1 - right.mean())


@given(PAIRS, st.lists(st.integers(0, 3), min_size=25, max_size=25))
def test_a_weight_is_as_many_copies(pairs: list[tuple[float, bool]], times: list[int]) -> None:
    sure, right = split(pairs)
    weights = np.array([times[: len(sure)]], dtype=np.float64)
    counts = weights[0].astype(int)
    copies = once(int(counts.sum()))
    for statistic in (brier, calibration_error, auroc, risk_coverage):
        weighted = statistic(weights, sure, right)[0]
        copied = statistic(copies, np.repeat(sure, counts), np.repeat(right, counts))[0]
        assert weighted == pytest.approx(copied, abs=1e-9, nan_ok=True)


@given(PAIRS)
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[float, bool]]) -> None:
    right = [sure for sure, is_right in pairs if is_right]
    wrong = [sure for sure, is_right in pairs if not is_right]
    found = auroc(once(len(pairs)), *split(pairs))[0]
    if not right or not wrong:
        assert np.isnan(found)
        return
    won = sum((one > other) + (one == other) / 2 for one in right for other in wrong)
    assert found == pytest.approx(won / (len(right) * len(wrong)))


@given(PAIRS, st.randoms(use_true_random=False))
def test_no_figure_depends_on_the_order(pairs: list[tuple[float, bool]], rng: random.Random) -> None:
    mixed = list(pairs)
    rng.shuffle(mixed)
    for statistic in (brier, calibration_error, auroc, risk_coverage):
        one, other = (statistic(once(len(pairs)), *split(own))[0] for own in (pairs, mixed))
        assert one == pytest.approx(other, nan_ok=True)


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilsons_interval_holds_the_share_and_stays_within_0_and_1(hits: int, more: int) -> None:
    found = wilson(hits, hits + more)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value <= found.high + 1e-12 <= 1 + 1e-12


@given(PAIRS)
def test_an_interval_holds_its_figure(pairs: list[tuple[float, bool]]) -> None:
    sure, right = split(pairs)
    drawn = draws_of([str(number) for number in range(len(pairs))], draws=60)
    found = estimated(partial(calibration_error, confidence_N=sure, right_N=right), drawn)
    if found.low is not None and found.high is not None and found.value is not None:
        assert found.low <= found.value <= found.high


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=20))
def test_swapping_two_methods_turns_the_sign_and_nothing_else(pairs: list[tuple[bool, bool]]) -> None:
    own, other = array(*(float(one) for one, _ in pairs)), array(*(float(two) for _, two in pairs))
    drawn = draws_of([str(number) for number in range(len(pairs))], draws=200)
    first, second = partial(mean, values_N=own), partial(mean, values_N=other)
    one = compared(first, second, drawn, differing=5)
    two = compared(second, first, drawn, differing=5)
    assert one.p == two.p
    assert one.value == pytest.approx(-two.value)
    assert one.low == pytest.approx(-two.high if two.high is not None else None)
