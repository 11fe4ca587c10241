"""Shares with intervals, and paired tests, held against numbers worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.steps.intervals import mcnemar, share

RIGHTS = st.lists(st.booleans(), min_size=1, max_size=60)


def test_half_of_a_hundred_has_wilsons_interval() -> None:
    found = share([True] * 50 + [False] * 50)
    assert (found.low, found.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert str(found) == "50 (40 to 60)"


def test_none_of_ten_may_still_be_a_quarter() -> None:
    found = share([False] * 10)
    assert found.low == 0
    assert found.high == pytest.approx(0.2775, abs=1e-4)


def test_of_nothing_nothing_is_known() -> None:
    assert str(share([])) == "-"
    assert share([])[2:] == (0.0, 1.0)


@given(RIGHTS)
def test_a_share_lies_in_its_interval(rights: list[bool]) -> None:
    found = share(rights)
    assert 0 <= found.low <= found.right / found.of <= found.high <= 1


def test_only_runs_that_one_of_two_got_right_count() -> None:
    one, other = [True] * 8 + [False] * 2 + [True] * 50, [False] * 8 + [True] * 2 + [True] * 50
    assert mcnemar(one, other) == pytest.approx(2 * (1 + 10 + 45) / 1024)


def test_ways_that_are_right_on_the_same_runs_are_equally_good() -> None:
    assert mcnemar([True, False], [True, False]) == 1
    assert mcnemar([], []) == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_a_comparison_has_no_sides(pairs: list[tuple[bool, bool]]) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    assert mcnemar(one, other) == mcnemar(other, one)
    assert 0 < mcnemar(one, other) <= 1
