"""Compressed record batches are opened into a room of a fixed size: what a few kilobytes expand to has no other bound.

The broker's `max.message.bytes` counts compressed bytes, and a megabyte of zstd may hold thirty gigabytes.

Rules: within `room(most)`, in this thread, a decoder that was `bounded` expands at most so many bytes and raises
OversizeError where there is more; elsewhere it is as it was.
"""

import mmap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cramjam

from schemas.topics import MB

BATCH_BYTES = 64 * MB
"""A batch that holds more is not opened; senders count a batch before they compress it, so none should."""
CODECS = ("gzip", "snappy", "lz4", "zstd")
_KEPT_BYTES = 8 * MB
"""So much of the room stays with the process."""
_FULL = "failed to write whole buffer"
_XERIAL = b"\x82SNAPPY\0"
_XERIAL_HEAD = 16

Decode = Callable[[bytes], bytes]


class OversizeError(Exception):
    """A batch holds more than is opened."""


class Room:
    """What is left to expand into, and how much was used."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def open(self, codec: str, payload: bytes) -> bytes:
        """Expand a payload; raises OversizeError where it holds too much."""
        if codec == "snappy":
            return self._take(_open_snappy(payload, self.most - self.used))
        scratch = _scratch(self.most)
        try:
            size = getattr(cramjam, codec).decompress_into(payload, scratch)
        except cramjam.DecompressionError as error:
            if _FULL in str(error):
                raise OversizeError from None
            raise
        with memoryview(scratch) as view:
            opened = bytes(view[:size])
        if size > _KEPT_BYTES:
            scratch.madvise(mmap.MADV_DONTNEED)
        return self._take(opened)

    def _take(self, opened: bytes) -> bytes:
        self.used += len(opened)
        return opened


_here = threading.local()


@contextmanager
def room(most: int = BATCH_BYTES) -> Iterator[Room]:
    """Bound what this thread's decoders expand."""
    _here.room = found = Room(most)
    try:
        yield found
    finally:
        _here.room = None


def _scratch(most: int) -> mmap.mmap:
    """Return this thread's memory to expand into; the system gives a page when it is written."""
    found: mmap.mmap | None = getattr(_here, "scratch", None)
    if found is None or len(found) != most:
        _here.scratch = found = mmap.mmap(-1, most)
    return found


def _open_snappy(payload: bytes, most: int) -> bytes:
    """Add up what each block says that it holds, which the decoder holds it to."""
    blocks = list(_xerial_blocks(payload)) if payload.startswith(_XERIAL) else [payload]
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > most:
        raise OversizeError
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _xerial_blocks(payload: bytes) -> Iterator[bytes]:
    at = _XERIAL_HEAD
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big", signed=True)
        yield payload[at + 4 : at + 4 + size]
        at += 4 + max(size, 0)


def bounded(codec: str, unbounded: Decode) -> Decode:
    """Return a decoder that keeps to the room it is called in."""

    def decode(payload: bytes) -> bytes:
        found: Room | None = getattr(_here, "room", None)
        return unbounded(payload) if found is None else found.open(codec, bytes(payload))

    return decode
