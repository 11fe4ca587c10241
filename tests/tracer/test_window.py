"""What a worker holds, in what order it begins, and when it stops reading."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.progress import Commit, Known, Progress, encode
from tracer.window import Record, Waits, Window, Work

NOW = 1_000_000


PATIENT = Waits(500_000)


def window(
    *, concurrency: int = 2, records: int = 10, size: int = 10_000, attempts: int = 3, waits: Waits = PATIENT
) -> Window:
    made = Window(concurrency=concurrency, records=records, size=size, attempts=attempts, waits=waits)
    made.assign(0, Progress(Commit(0, "")))
    return made


def records(offsets: Iterable[int], partition: int = 0, size: int = 10) -> list[Record]:
    return [Record(partition, offset, NOW, None, b"x" * size) for offset in offsets]


def failures(offsets: Iterable[int], system: str, at_ms: int = NOW, size: int = 0) -> list[Record]:
    """Return failures of a system, a millisecond apart."""
    head = f'{{"tenant":"default","system":"{system}"'.encode()
    value = head + b',"steps":[' + b" " * size + b"]}"
    return [Record(0, offset, at_ms + offset, None, value) for offset in offsets]


def offsets(works: Iterable[Work]) -> list[int]:
    return [work.record.offset for work in works]


def crashed(attempts: dict[int, int]) -> Progress:
    """Return the progress of a partition whose worker died with these attempts under way."""
    first = min(attempts)
    return Progress(Commit(first, encode(first, Known(max(attempts) + 1, attempts))))


def test_the_newest_failure_is_begun_first_and_so_many_at_once_as_may() -> None:
    held = window()
    held.take(records(range(4)))
    first = held.start(NOW)
    assert offsets(first) == [3, 2]
    assert [work.attempt for work in first] == [1, 1]
    assert held.start(NOW) == []
    held.finish(first[1])
    assert offsets(held.start(NOW)) == [1]


def test_the_systems_take_turns_whatever_the_backlog_of_one_is() -> None:
    held = window(concurrency=5, records=100)
    held.take(failures(range(50), "busy") + failures([50, 51], "quiet") + failures([52], "rare"))
    begun = held.start(NOW)
    assert sorted(work.share.partition("\x1f")[2] for work in begun) == ["busy", "busy", "quiet", "quiet", "rare"]
    assert {49, 51, 52} < set(offsets(begun))


def test_what_waited_longer_than_the_limit_goes_first_the_oldest_before_the_others() -> None:
    held = window(concurrency=3, waits=Waits(1_000))
    held.take(failures([0, 1], "old", NOW - 5_000) + failures([2, 3], "new"))
    assert offsets(held.start(NOW)) == [0, 1, 3]


def test_what_is_shed_starts_beside_whatever_is_in_work() -> None:
    held = window(concurrency=1, waits=Waits(1_000, sheds=True))
    held.take(failures([0], "new"))
    (tracing,) = held.start(NOW)
    held.take(failures([1, 2], "new", NOW + 1))
    assert held.start(NOW + 500) == []
    shed = held.start(NOW + 5_000)
    assert offsets(shed) == [1, 2]
    assert all(work.is_shed for work in shed)
    assert not tracing.is_shed


def test_content_beyond_the_bytes_is_let_go_of_the_oldest_first_and_read_again_in_its_turn() -> None:
    held = window(concurrency=1, size=250)
    held.take(records(range(4), size=100))
    assert held.size == 200
    assert not held.is_full()
    (kept,) = held.start(NOW)
    assert (kept.record.offset, kept.is_dropped) == (3, False)
    held.finish(kept)
    for offset, dropped in ((2, False), (1, True), (0, True)):
        (work,) = held.start(NOW)
        assert (work.record.offset, work.is_dropped) == (offset, dropped)
        if dropped:
            held.read_again(work, records([offset], size=100)[0])
        assert held.size >= 100
        held.finish(work)
    assert held.size == 0


def test_a_record_that_comes_twice_is_held_once() -> None:
    held = window(concurrency=9)
    held.take(records([0, 1]))
    held.take(records([0, 1, 2]))
    assert offsets(held.start(NOW)) == [2, 1, 0]


def test_the_last_attempt_of_what_was_in_a_crash_runs_alone() -> None:
    held = window(concurrency=9)
    held.assign(0, crashed({1: 2, 2: 1}))
    held.take(records(range(1, 5)))
    (alone,) = held.start(NOW)
    assert (alone.record.offset, alone.attempt) == (1, 3)
    held.finish(alone)
    assert offsets(held.start(NOW)) == [4, 3, 2]


def test_the_last_attempt_waits_until_nothing_else_is_in_work() -> None:
    held = window(concurrency=9)
    held.take(records([1]))
    (before,) = held.start(NOW)
    held.assign(1, crashed({2: 2}))
    held.take(records([2, 3], partition=1))
    assert held.start(NOW) == []
    held.finish(before)
    (alone,) = held.start(NOW)
    assert (alone.record.partition, alone.record.offset) == (1, 2)


def test_what_has_used_all_its_attempts_runs_alone_too() -> None:
    held = window(concurrency=9, attempts=1)
    held.assign(0, crashed({1: 1}))
    held.take(records([1, 2]))
    assert offsets(held.start(NOW)) == [1]


def test_with_one_attempt_fresh_work_still_runs_side_by_side() -> None:
    held = window(concurrency=9, attempts=1)
    held.take(records([0, 1]))
    assert offsets(held.start(NOW)) == [1, 0]


def test_reading_stops_when_the_window_is_full_and_goes_on_when_it_is_half_empty() -> None:
    held = window(concurrency=1, records=4)
    held.take(records(range(3)))
    assert not held.is_full()
    assert held.room == 1
    held.take(records(range(3, 5)))
    assert held.is_full()
    for left in (4, 3):
        (work,) = held.start(NOW)
        assert (held.is_full(), left) == (True, left)
        held.finish(work)
    held.start(NOW)
    assert not held.is_full()


def test_bytes_in_work_stop_reading_until_half_of_them_are_done() -> None:
    held = window(concurrency=4, size=100)
    held.take(records(range(4), size=30))
    works = held.start(NOW)
    for work in works:
        held.read_again(work, records([work.record.offset], size=30)[0])
    assert held.is_full()
    held.finish(works[0])
    held.finish(works[1])
    assert held.is_full()
    held.finish(works[2])
    assert not held.is_full()


def test_a_partition_that_goes_takes_its_work_with_it() -> None:
    held = window(concurrency=2)
    held.assign(1, Progress(Commit(0, "")))
    held.take(records([0, 1], partition=1) + records([0]))
    begun = held.start(NOW)
    assert set(held.drop(1)) == {work for work in begun if work.record.partition == 1}
    assert set(held.partitions) == {0}
    assert [work.record.partition for work in held.start(NOW)] == [0]


def test_what_was_read_ahead_of_a_partition_that_went_no_longer_fills_the_window() -> None:
    held = window(records=5, size=100)
    held.take(records(range(5), size=30))
    assert held.is_full()
    held.drop(0)
    assert not held.is_full()
    assert (held.room, held.size) == (5, 0)


def test_what_ends_after_its_partition_went_changes_nothing() -> None:
    held = window(concurrency=1)
    held.take(records([0, 1]))
    (stale,) = held.start(NOW)
    held.drop(0)
    held.assign(0, Progress(Commit(0, "")))
    held.take(records([0, 1]))
    (again,) = held.start(NOW)
    held.finish(stale)
    assert held.start(NOW) == []
    assert held.partitions[0].commit() == Commit(0, encode(0, Known(2, {0: 0, 1: 1})))
    held.finish(again)
    assert offsets(held.start(NOW)) == [0]


def test_what_the_broker_deleted_before_it_was_done_is_counted() -> None:
    held = window()
    held.assign(0, crashed({1: 1, 2: 1}))
    assert held.take(records([1])) == 0
    assert held.take(records([7, 8])) == 1


def test_another_attempt_of_the_same_work_counts_on() -> None:
    held = window()
    held.take(records([0]))
    (work,) = held.start(NOW)
    held.begin(work)
    assert work.attempt == 2
    assert held.partitions[0].attempts(0) == 2


def test_what_would_not_fit_the_metadata_waits() -> None:
    held = window(concurrency=5_000, records=5_000, size=10**9)
    held.take(records(range(3_000)))
    works = held.start(NOW)
    assert 500 < len(works) < 3_000
    for work in works:
        held.finish(work)
    assert held.start(NOW)


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
            works += held.start(NOW)
        elif action == "drop":
            assert set(held.drop(0)) <= set(works)
            held.assign(0, Progress(Commit(offset, "")))
        elif works:
            held.finish(works.pop(0 if action == "first" else -1))
    while works := works or held.start(NOW):
        held.finish(works.pop())
    assert not held.is_full()
    assert held.partitions[0].commit() == Commit(offset, "")
