from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas import CloseReason
from streams.marker import ENTRY_BYTES, Marker, checksum, decode, entries_of, id_hash
from tests.strategies import IDS, TIMES

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def marker(events: list[tuple[str, bytes]] | None = None, **fields: Any) -> Marker:
    entries = entries_of(events or [])
    one = Marker("t1", 1_000, 2_000, 1, 7, CloseReason.COMPLETED, 300, True, NOON, b"tietietb", entries)
    return one._replace(**fields)


MARKERS = st.builds(
    Marker,
    IDS,
    st.integers(0, 2**42),
    st.integers(0, 2**42),
    st.integers(1, 2**31 - 1),
    st.none() | st.integers(0, 2**62),
    st.sampled_from(CloseReason),
    st.integers(0, 2**40),
    st.booleans(),
    TIMES,
    st.binary(min_size=8, max_size=8),
    st.lists(st.tuples(IDS, st.binary(max_size=9)), max_size=5).map(entries_of),
)


@given(MARKERS)
def test_a_marker_is_read_back_as_it_was(one: Marker) -> None:
    assert decode(one.trajectory_id, one.encode()) == one


@given(MARKERS)
def test_a_marker_without_an_outcome_is_read_back_without(one: Marker) -> None:
    without = one._replace(outcome_at=None, outcome_tie=b"")
    assert decode(without.trajectory_id, without.encode()) == without


def test_a_marker_takes_a_constant_and_twelve_bytes_an_event() -> None:
    sizes = [len(marker([(f"e{n}", b"x" * 1_000) for n in range(count)]).encode()) for count in (0, 1, 1_000)]
    assert [size - sizes[0] for size in sizes] == [0, ENTRY_BYTES, 1_000 * ENTRY_BYTES]
    assert sizes[0] < 100


def test_it_counts_its_events() -> None:
    assert marker([(f"e{n}", b"") for n in range(17)]).events == 17


@given(st.sets(IDS, max_size=20), IDS)
def test_it_knows_its_events_by_their_bytes_and_no_others(event_ids: set[str], other: str) -> None:
    one = marker([(event_id, event_id.encode()) for event_id in sorted(event_ids)])
    assert all(one.check_of(event_id) == checksum(event_id.encode()) for event_id in event_ids)
    assert (one.check_of(other) is None) == (other not in event_ids)


def test_a_hash_that_stands_across_two_entries_is_no_event() -> None:
    for shift in range(1, ENTRY_BYTES):
        packed = bytes(shift) + id_hash("e1") + bytes(2 * ENTRY_BYTES - shift - 8)
        assert marker(entries=packed).check_of("e1") is None


def test_an_event_is_found_behind_its_hash_across_two_entries() -> None:
    for shift in range(1, ENTRY_BYTES):
        astray = bytes(shift) + id_hash("e1") + bytes(2 * ENTRY_BYTES - shift - 8)
        assert marker(entries=astray + entries_of([("e1", b"x")])).check_of("e1") == checksum(b"x")


def test_an_outcome_stands_against_an_older_or_equal_one() -> None:
    one = marker()
    assert one.outranks((NOON.replace(hour=11), b"zzzzzzzz"))
    assert one.outranks((NOON, b"tietietb"))
    assert one.outranks((NOON, b"tietieta"))
    assert not one.outranks((NOON, b"tietietc"))
    assert not one.outranks((NOON.replace(microsecond=1), b"aaaaaaaa"))


def test_where_there_is_no_outcome_any_is_newer() -> None:
    assert not marker(outcome_at=None, outcome_tie=b"").outranks((datetime(2000, 1, 1, tzinfo=UTC), b""))


def test_its_room_grows_with_what_it_holds() -> None:
    assert marker([("e1", b""), ("e2", b"")]).memory - marker().memory == 2 * ENTRY_BYTES
    assert marker(trajectory_id="t" * 100).memory - marker(trajectory_id="t").memory == 99
