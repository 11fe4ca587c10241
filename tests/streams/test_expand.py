"""Compressed payloads in a room of a fixed size: opened exactly, or refused before they take more."""

import gzip
import threading
import tracemalloc
from collections.abc import Callable

import pytest
from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from streams.delivery import _Batches, _Unopened
from streams.expand import CODECS, OversizeError, bounded, room

ENCODE: dict[str, Callable[[bytes], bytes]] = {name: getattr(codec, f"{name}_encode") for name in CODECS}
DECODE = {name: bounded(name, getattr(codec, f"{name}_decode")) for name in CODECS}
KINDS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
ROOM = 1_000_000


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [0, 1, 100, ROOM - 1, ROOM])
def test_what_fits_is_opened_exactly(name: str, size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    with room(ROOM) as used:
        assert DECODE[name](ENCODE[name](payload)) == payload
    assert used.used == size


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [ROOM + 1, 50 * ROOM])
def test_one_byte_more_is_refused_and_never_held(name: str, size: int) -> None:
    encoded = ENCODE[name](bytes(size))
    tracemalloc.start()
    with room(ROOM), pytest.raises(OversizeError):
        DECODE[name](encoded)
    assert tracemalloc.get_traced_memory()[1] < 5 * ROOM
    tracemalloc.stop()


def test_snappy_without_blocks_is_bounded_too() -> None:
    encoded = codec.snappy_encode(bytes(ROOM + 1), xerial_compatible=False)
    with room(ROOM), pytest.raises(OversizeError):
        DECODE["snappy"](encoded)
    with room(ROOM + 1):
        assert DECODE["snappy"](encoded) == bytes(ROOM + 1)


def test_members_of_one_payload_share_the_room() -> None:
    with room(ROOM), pytest.raises(OversizeError):
        DECODE["gzip"](gzip.compress(bytes(ROOM - 10)) * 2)


def test_outside_of_a_room_and_in_another_thread_a_decoder_is_as_it_was() -> None:
    encoded, found = ENCODE["zstd"](bytes(2 * ROOM)), []
    with room(ROOM):
        other = threading.Thread(target=lambda: found.append(len(DECODE["zstd"](encoded))))
        other.start()
        other.join()
    assert [*found, len(DECODE["zstd"](encoded))] == [2 * ROOM, 2 * ROOM]


def test_what_is_no_payload_is_another_error() -> None:
    for name in ("gzip", "lz4", "zstd"):
        with room(ROOM), pytest.raises(Exception, match=r"(?i)frame|header|lz4|stream") as raised:
            DECODE[name](b"garbage" * 10)
        assert not isinstance(raised.value, OversizeError)


# ---- in aiokafka's own batches: what is relied on, for the pinned version ----


def _batch(kind: int, *values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, kind, 0, -1, -1, -1, 10**9)
    for number, value in enumerate(values):
        builder.append(number, 1_000, None, value, [])
    return bytes(builder.build())


@pytest.mark.parametrize("name", CODECS)
def test_aiokafka_opens_its_batches_with_the_decoders_that_keep_to_the_room(name: str) -> None:
    batch = DefaultRecordBatch(_batch(KINDS[name], bytes(ROOM)))
    with room(ROOM), pytest.raises(OversizeError):
        iter(batch)
    assert [len(record.value) for record in DefaultRecordBatch(_batch(KINDS[name], bytes(ROOM)))] == [ROOM]


@pytest.mark.parametrize("name", CODECS)
def test_a_batch_that_holds_too_much_is_one_record_at_its_last_offset_and_the_next_is_read(name: str) -> None:
    small = _batch(KINDS[name], b"a", b"b")
    bomb = _batch(KINDS[name], bytes(40_000_000), bytes(40_000_000))
    batches = _Batches(MemoryRecords(small + bomb + small))
    read = []
    while batches.has_next():
        batch = batches.next_batch()
        read += [(type(batch) is _Unopened, record.offset, record.value) for record in batch]
    assert read == [(False, 0, b"a"), (False, 1, b"b"), (True, 1, b"0 to 1"), (False, 0, b"a"), (False, 1, b"b")]


def test_a_fetch_is_opened_batch_by_batch_up_to_its_share() -> None:
    batches = _Batches(MemoryRecords(_batch(KINDS["zstd"], bytes(10_000_000)) * 5))
    count = 0
    while batches.has_next():
        assert len(list(batches.next_batch())) == 1
        count += 1
    assert count == 2, "the rest is fetched again"
