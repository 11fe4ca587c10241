from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from streams.clock import PartitionClock


def clock(time_ms: int = 100_000) -> PartitionClock:
    return PartitionClock(max_gap_ms=1_000, time_ms=time_ms)


def test_before_the_first_record_no_time_passes() -> None:
    one = PartitionClock(max_gap_ms=1_000)
    one.passed(500)
    assert (one.time_ms, one.watched_ms) == (0, 0)


def test_the_first_record_sets_the_time_and_skips_nothing() -> None:
    one = PartitionClock(max_gap_ms=1_000)
    one.appended(1_700_000_000_000)
    assert (one.time_ms, one.watched_ms) == (1_700_000_000_000, 1_700_000_000_000)


def test_an_hour_that_nobody_watched_counts_as_one_gap_towards_idleness() -> None:
    one = clock()
    one.appended(100_000 + 3_600_000)
    assert (one.time_ms, one.watched_ms) == (3_700_000, 101_000)


def test_time_between_records_counts_whole_up_to_the_gap() -> None:
    one = clock()
    for append_ms in (100_400, 101_400, 101_401):
        one.appended(append_ms)
    assert (one.time_ms, one.watched_ms) == (101_401, 101_401)


def test_every_outage_is_skipped_by_itself() -> None:
    one = clock()
    for append_ms in (200_000, 300_000):
        one.appended(append_ms)
    assert (one.time_ms, one.watched_ms) == (300_000, 102_000)


def test_empty_answers_are_time() -> None:
    one = clock()
    for _ in range(20):
        one.passed(250)
    assert (one.time_ms, one.watched_ms) == (105_000, 105_000)


def test_one_empty_answer_counts_as_the_gap_at_most() -> None:
    one = clock()
    one.passed(3_600_000)
    assert (one.time_ms, one.watched_ms) == (101_000, 101_000)


def test_a_record_within_time_that_has_passed_already_adds_none() -> None:
    one = clock()
    one.passed(800)
    one.appended(100_500)
    assert one.time_ms == 100_800
    one.appended(101_000)
    assert (one.time_ms, one.watched_ms) == (101_000, 101_000)


def test_time_never_goes_back() -> None:
    one = clock()
    one.appended(99_000)
    one.passed(-5_000)
    assert (one.time_ms, one.watched_ms) == (100_000, 100_000)


def test_now_is_the_brokers_time_in_utc() -> None:
    assert clock(1_772_366_400_123).now() == datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)


@given(st.lists(st.tuples(st.booleans(), st.integers(-10_000, 400_000)), max_size=30))
def test_no_single_event_counts_more_than_the_gap(moves: list[tuple[bool, int]]) -> None:
    one = clock()
    for is_record, value in moves:
        time_ms, watched_ms = one.time_ms, one.watched_ms
        if is_record:
            one.appended(value)
            assert one.time_ms == max(time_ms, value)
        else:
            one.passed(value)
            assert one.time_ms - time_ms == one.watched_ms - watched_ms
        assert 0 <= one.watched_ms - watched_ms <= one.max_gap_ms
        assert one.watched_ms <= one.time_ms
