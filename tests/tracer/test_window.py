"""What a worker holds, in what order it begins, and when it stops reading."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.progress import Commit, Known, Progress, encode
from tracer.window import Record, Window, Work


def window(*, concurrency: int = 2, records: int = 10, size: int = 10_000, attempts: int = 3) -> Window:
    made = Window(concurrency=concurrency, records=records, size=size, attempts=attempts)
    made.assign(0, Progress(Commit(0, "")))
    return made


def records(offsets: Iterable[int], partition: int = 0, size: int = 10) -> list[Record]:
    return [Record(partition, offset, 0, None, b"x" * size) for offset in offsets]


def offsets(works: Iterable[Work]) -> list[int]:
    return [work.record.offset for work in works]


def crashed(attempts: dict[int, int]) -> Progress:
    """Return the progress of a partition whose worker died with these attempts under way."""
    first = min(attempts)
    return Progress(Commit(first, encode(first, Known(max(attempts) + 1, attempts))))


def test_work_begins_in_the_order_of_arrival_and_so_many_at_once_as_may() -> None:
    held = window()
    held.take(records(range(4)))
    first = held.start()
    assert offsets(first) == [0, 1]
    assert [work.attempt for work in first] == [1, 1]
    assert held.start() == []
    held.finish(first[1])
    assert offsets(held.start()) == [2]


def test_a_record_that_comes_twice_is_held_once() -> None:
    held = window(concurrency=9)
    held.take(records([0, 1]))
    held.take(records([0, 1, 2]))
    assert offsets(held.start()) == [0, 1, 2]


def test_the_last_attempt_of_what_was_in_a_crash_runs_alone() -> None:
    held = window(concurrency=9)
    held.assign(0, crashed({1: 2, 2: 1}))
    held.take(records(range(1, 5)))
    (alone,) = held.start()
    assert (alone.record.offset, alone.attempt) == (1, 3)
    held.finish(alone)
    assert offsets(held.start()) == [2, 3, 4]


def test_the_last_attempt_waits_until_nothing_else_is_in_work() -> None:
    held = window(concurrency=9)
    held.assign(0, crashed({1: 1, 2: 2}))
    held.take(records(range(1, 4)))
    (before,) = held.start()
    assert held.start() == []
    held.finish(before)
    (alone,) = held.start()
    assert alone.record.offset == 2


def test_what_has_used_all_its_attempts_runs_alone_too() -> None:
    held = window(concurrency=9, attempts=1)
    held.assign(0, crashed({1: 1}))
    held.take(records([1, 2]))
    assert offsets(held.start()) == [1]


def test_with_one_attempt_fresh_work_still_runs_side_by_side() -> None:
    held = window(concurrency=9, attempts=1)
    held.take(records([0, 1]))
    assert offsets(held.start()) == [0, 1]


def test_reading_stops_when_the_window_is_full_and_goes_on_when_it_is_half_empty() -> None:
    held = window(concurrency=1, records=4)
    held.take(records(range(3)))
    assert not held.is_full()
    assert held.room == 1
    held.take(records(range(3, 5)))
    assert held.is_full()
    for left in (4, 3):
        (work,) = held.start()
        assert (held.is_full(), left) == (True, left)
        held.finish(work)
    held.start()
    assert not held.is_full()


def test_bytes_in_work_stop_reading_until_half_of_them_are_done() -> None:
    held = window(concurrency=4, size=100)
    held.take(records(range(4), size=30))
    works = held.start()
    assert held.is_full()
    held.finish(works[0])
    held.finish(works[1])
    assert held.is_full()
    held.finish(works[2])
    assert not held.is_full()


def test_a_partition_that_goes_takes_its_work_with_it() -> None:
    held = window(concurrency=2)
    held.assign(1, Progress(Commit(0, "")))
    held.take(records([0, 1]) + records([0], partition=1))
    begun = held.start()
    assert set(held.drop(0)) == set(begun)
    assert set(held.partitions) == {1}
    assert [work.record.partition for work in held.start()] == [1]


def test_what_was_read_ahead_of_a_partition_that_went_no_longer_fills_the_window() -> None:
    held = window(size=100)
    held.take(records(range(5), size=30))
    assert held.is_full()
    held.drop(0)
    assert not held.is_full()
    assert held.room == 10


def test_what_ends_after_its_partition_went_changes_nothing() -> None:
    held = window(concurrency=1)
    held.take(records([0, 1]))
    (stale,) = held.start()
    held.drop(0)
    held.assign(0, Progress(Commit(0, "")))
    held.take(records([0, 1]))
    (again,) = held.start()
    held.finish(stale)
    assert held.start() == []
    assert held.partitions[0].commit() == Commit(0, encode(0, Known(1, {0: 1})))
    held.finish(again)
    assert offsets(held.start()) == [1]


def test_what_the_broker_deleted_before_it_was_done_is_counted() -> None:
    held = window()
    held.assign(0, crashed({1: 1, 2: 1}))
    assert held.take(records([1])) == 0
    assert held.take(records([7, 8])) == 1


def test_another_attempt_of_the_same_work_counts_on() -> None:
    held = window()
    held.take(records([0]))
    (work,) = held.start()
    held.begin(work)
    assert work.attempt == 2
    assert held.partitions[0].attempts(0) == 2


def test_what_would_not_fit_the_metadata_waits() -> None:
    held = window(concurrency=5_000, records=5_000, size=10**9)
    held.take(records(range(3_000)))
    works = held.start()
    assert 500 < len(works) < 3_000
    for work in works:
        held.finish(work)
    assert held.start()


@given(st.lists(st.sampled_from(["take", "start", "first", "last", "drop"]), max_size=60), st.integers(1, 5))
@settings(deadline=None)
def test_the_window_is_empty_again_whatever_came(actions: list[str], concurrency: int) -> None:
    held = window(concurrency=concurrency, size=100)
    works: list[Work] = []
    offset = 0
    for action in actions:
        if action == "take":
            held.take(records([offset, offset + 1]))
            offset += 2
        elif action == "start":
            works += held.start()
        elif action == "drop":
            assert set(held.drop(0)) <= set(works)
            held.assign(0, Progress(Commit(offset, "")))
        elif works:
            held.finish(works.pop(0 if action == "first" else -1))
    while works := works or held.start():
        held.finish(works.pop())
    assert not held.is_full()
    assert held.partitions[0].commit() == Commit(offset, "")
