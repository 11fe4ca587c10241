import struct
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import StateError
from streams.held import OpenTrajectory
from streams.marker import decode
from streams.state import (
    END_KEY,
    SOURCE_KEY,
    Record,
    Source,
    marker_key,
    read_state,
    segment_key,
    segment_record,
    source_record,
    tombstones,
)
from tests.factories import START, raw, step
from tests.strategies import IDS
from tests.streams.broker import Worker

SOURCE = Source(offset=7, partitions=4, time_ms=1_000, skipped_ms=10, spent=[("shop", 3, 2)])


def segment(trajectory_id: str = "t1", number: int = 0, events: tuple[bytes, ...] = (b"x",)) -> Record:
    trajectory = OpenTrajectory(trajectory_id, 500, 900, segments=number)
    trajectory.fresh = list(events)
    return segment_record(trajectory)


def marker_record() -> Record:
    work = Worker()
    work.send(step(final=True))
    work.closed(2_000)
    key = marker_key("t1")
    return key, dict(work.topics.state)[key]


def test_the_source_is_read_back() -> None:
    assert read_state([source_record(SOURCE)]).source == SOURCE


@given(IDS, st.lists(st.binary(max_size=30), max_size=6))
def test_a_segment_is_read_back_with_its_events_in_their_order(trajectory_id: str, events: list[bytes]) -> None:
    (one,) = read_state([segment(trajectory_id, 3, tuple(events))]).segments
    assert one == (trajectory_id, 500, 3, 900, None, events)


def test_a_segment_of_version_1_is_read() -> None:
    key = segment()[0]
    value = struct.pack(">Bq", 1, 900) + struct.pack(">I", 3) + b"abc"
    (one,) = read_state([(key, value)]).segments
    assert (one.last_ms, one.via, one.events) == (900, None, [b"abc"])


@given(IDS)
def test_a_marker_is_read_back_under_any_id(trajectory_id: str) -> None:
    marker = decode(trajectory_id, marker_record()[1] or b"")
    (one,) = read_state([(marker_key(trajectory_id), marker.encode())]).markers
    assert one == marker


def test_the_last_record_of_a_key_stands_and_a_tombstone_removes_it() -> None:
    old, gone = segment(events=(b"old",)), segment("t2")
    records = [old, gone, segment(events=(b"new",)), (gone[0], None), source_record(SOURCE)]
    state = read_state(records)
    assert [(one.trajectory_id, one.events) for one in state.segments] == [("t1", [b"new"])]


def test_tombstones_are_of_every_segment_that_was_written() -> None:
    trajectory = OpenTrajectory("t1", 500, 900, segments=3)
    assert tombstones(trajectory) == [(segment_key("t1", 500, number), None) for number in range(3)]
    assert tombstones(OpenTrajectory("t1", 500, 900)) == []


def test_ids_never_run_into_each_other_in_keys() -> None:
    ids = ["a", "a1", "1", "11", "s", "m", "end", "source", "é", " "]
    keys = [segment_key(one, opened, number) for one in ids for opened in (1, 11) for number in (1, 11)]
    assert len({*keys, *map(marker_key, ids), SOURCE_KEY, END_KEY}) == len(keys) + len(ids) + 2


def test_the_readers_own_end_marks_are_no_state() -> None:
    assert read_state([(END_KEY, b"nonce")]) == (None, [], [])


@pytest.mark.parametrize(
    "record",
    [
        (SOURCE_KEY, source_record(SOURCE.model_copy(update={"version": 3}))[1]),
        (SOURCE_KEY, b'{"offset":1}'),
        (segment()[0], struct.pack(">Bq", 3, 0)),
        (marker_key("t1"), b"\x03" + (marker_record()[1] or b"")[1:]),
    ],
)
def test_a_state_of_another_version_is_refused(record: Record) -> None:
    with pytest.raises(StateError, match=r"version (3|None).*upgrade"):
        read_state([record])


@pytest.mark.parametrize("value", [b"", b"not json", b"[]", b"7", b'{"version":1}', b'{"version":1,"offset":"x"}'])
def test_a_source_that_cannot_be_read_is_refused(value: bytes) -> None:
    with pytest.raises(StateError):
        read_state([(SOURCE_KEY, value)])


def test_the_changelog_takes_as_many_bytes_as_the_steps_it_holds() -> None:
    work, sent = Worker(), 0
    for index in range(2_000):
        one = step(index=index, content="x" * 900)
        sent += len(raw(one))
        work.send(one, after_ms=100)
        if index % 5 == 4:
            work.checkpoint()
    assert work.broker.state_bytes() <= 1.2 * sent


def test_the_changelog_of_a_trajectory_grows_with_its_steps_not_with_their_square() -> None:
    def written(count: int) -> int:
        work = Worker()
        for index in range(count):
            work.send(step(index=index, content="x" * 900), after_ms=100)
            work.checkpoint()
        return work.broker.state_bytes()

    assert written(800) < 2.1 * written(400)


def test_what_opens_and_closes_between_two_checkpoints_leaves_no_content_in_the_state() -> None:
    def written(count: int) -> int:
        work = Worker()
        for number in range(10):
            steps = [step(f"t{number}", index, content="secret " * 100) for index in range(count)]
            work.send(*steps[:-1], steps[-1].model_copy(update={"final": True}))
        assert len(work.checkpoint()) == 10
        assert not any(b"secret" in (value or b"") for _, value in work.topics.state)
        return work.broker.state_bytes()

    assert written(100) <= 10 * (16 * 100 + 100) + 200
    assert written(100) - written(50) <= 10 * 16 * 50


def test_closing_removes_every_segment_and_leaves_a_marker() -> None:
    work = Worker()
    for index in range(5):
        work.send(step(index=index), after_ms=100)
        work.checkpoint()
    assert len([key for key in work.broker.state_keys() if key.startswith(b"s\0")]) == 5
    work.send(step(index=5, final=True))
    work.checkpoint()
    assert work.broker.state_keys() == {SOURCE_KEY, marker_key("t1")}


def test_a_checkpoint_without_new_events_writes_the_offset_alone() -> None:
    work = Worker()
    work.send(step(started_at=START + timedelta(seconds=1)))
    work.checkpoint()
    before = work.broker.state_bytes()
    work.checkpoint()
    assert work.broker.state_bytes() - before < 150
