from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from schemas import StepEvent
from streams.held import hold
from streams.order import in_order, missing_indices
from tests.factories import START, raw, step
from tests.streams.model import right_order


def order(*steps: StepEvent) -> list[str]:
    return [held.event_id for held in in_order([hold(one, raw(one)) for one in steps])]


def at(event_id: str, second: int = 0, parent: str | None = None, index: int | None = None) -> StepEvent:
    return step(index=index, event_id=event_id, parent_id=parent, started_at=START + timedelta(seconds=second))


def test_the_producers_sequence_counts_before_anything_else() -> None:
    assert order(at("c", 0, index=2), at("b", 9, "c", index=0), at("a", 5, index=1)) == ["b", "a", "c"]


def test_of_two_steps_with_one_index_the_earlier_goes_first_then_the_smaller_id() -> None:
    assert order(at("b", 1, index=0), at("c", 0, index=0), at("a", 1, index=0)) == ["c", "a", "b"]


def test_without_a_sequence_a_step_comes_after_its_parent_whatever_the_clocks_say() -> None:
    assert order(at("child", 0, "parent"), at("parent", 60)) == ["parent", "child"]


def test_what_is_free_goes_by_its_start_then_by_its_id() -> None:
    assert order(at("b", 1), at("a", 1), at("c", 0)) == ["c", "a", "b"]


def test_a_child_that_becomes_free_goes_before_later_starts() -> None:
    steps = at("root", 5), at("child", 1, "root"), at("other", 6)
    assert order(*steps) == ["root", "child", "other"]


def test_a_parent_that_never_came_holds_nobody_up() -> None:
    assert order(at("b", 1, "nobody"), at("a", 2)) == ["b", "a"]


def test_a_step_that_is_its_own_parent_is_free() -> None:
    assert order(at("b", 1, "b"), at("a", 2)) == ["b", "a"]


def test_in_a_circle_of_parents_the_earliest_goes_first() -> None:
    assert order(at("a", 3, "c"), at("b", 1, "a"), at("c", 2, "b")) == ["b", "c", "a"]


def test_two_circles_are_cut_one_after_the_other() -> None:
    steps = at("a", 1, "b"), at("b", 2, "a"), at("c", 3, "d"), at("d", 4, "c"), at("e", 9)
    assert order(*steps) == ["e", "a", "b", "c", "d"]


def test_a_step_without_an_index_takes_its_place_among_those_that_have_one() -> None:
    steps = at("one", 1, index=0), at("free", 2, "one"), at("two", 3, index=1)
    assert order(*steps) == ["one", "free", "two"]


def test_a_sequence_holds_where_other_steps_have_none() -> None:
    assert order(at("two", 0, index=1), at("one", 9, index=0), at("free", 5)) == ["free", "one", "two"]


def test_no_step_has_no_order() -> None:
    assert order() == []


IDS = [f"e{number}" for number in range(7)]
STEPS = st.lists(
    st.builds(
        at,
        st.sampled_from(IDS),
        st.integers(0, 3),
        st.none() | st.sampled_from(IDS),
        st.none() | st.integers(0, 4),
    ),
    unique_by=lambda one: one.event_id,
)


@given(STEPS, st.randoms(use_true_random=False))
def test_arrival_never_counts(steps: list[StepEvent], random: Random) -> None:
    shuffled = random.sample(steps, len(steps))
    assert order(*steps) == order(*shuffled)


@given(STEPS)
def test_the_order_is_the_one_that_a_plain_search_finds(steps: list[StepEvent]) -> None:
    assert order(*steps) == [one.event_id for one in right_order(steps)]


def gaps(indices: list[int | None], most: int = 100) -> tuple[tuple[int, ...], int]:
    return missing_indices([hold(one, b"") for one in map(_indexed, enumerate(indices))], most)


def _indexed(numbered: tuple[int, int | None]) -> StepEvent:
    number, index = numbered
    return step(index=index, event_id=f"e{number}")


def test_the_indices_that_never_came_are_named() -> None:
    assert gaps([0, 1, 4, None, 6, 4]) == ((2, 3, 5), 3)


def test_a_sequence_that_is_whole_has_no_gap() -> None:
    assert gaps([2, 0, 1]) == gaps([]) == gaps([None, None]) == ((), 0)


def test_a_sequence_that_starts_late_misses_its_start() -> None:
    assert gaps([3]) == ((0, 1, 2), 3)


def test_a_million_missing_indices_are_counted_and_the_first_are_named() -> None:
    assert gaps([2, 2**31 - 1], most=4) == ((0, 1, 3, 4), 2**31 - 2)


@given(st.lists(st.none() | st.integers(0, 30)), st.integers(0, 9))
def test_gaps_are_what_a_plain_count_finds(indices: list[int | None], most: int) -> None:
    known = [index for index in indices if index is not None]
    missing = [index for index in range(max(known, default=-1) + 1) if index not in known]
    assert gaps(indices, most) == (tuple(missing[:most]), len(missing))
