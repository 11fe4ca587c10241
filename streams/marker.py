"""What is left of a closed trajectory for the late window: enough to know a late event and to reopen it.

Rules: 12 bytes an event (8 of its id's hash, 4 of its bytes' checksum) and a constant; the content itself is read
back from `trajectories`, at `place`. Hashes are BLAKE2b, so an id can't be made to pass for another.
"""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

from schemas import CloseReason

_HEAD = struct.Struct(">BqqIqBQIqB8s")
STATE_VERSION = 2
"""Of everything that is kept on `assembler-state`."""
_REASONS = list(CloseReason)
ENTRY_BYTES = 12
_NOTHING = blake2b(digest_size=8)


def id_hash(event_id: str) -> bytes:
    """Return 8 bytes that stand for an event id."""
    made = _NOTHING.copy()  # a third of the time of making one
    made.update(event_id.encode())
    return made.digest()


def checksum(raw: bytes) -> bytes:
    """Return 4 bytes that stand for an event's bytes."""
    return crc32(raw).to_bytes(4, "big")


class Marker(NamedTuple):
    """A closed trajectory; `place` is the offset of its last revision on `trajectories`, None until acknowledged."""

    trajectory_id: str
    opened_ms: int
    closed_ms: int
    revision: int
    place: int | None
    close_reason: CloseReason
    size: int
    ended: bool
    outcome_at: datetime | None
    outcome_tie: bytes
    entries: bytes
    """12 bytes an event, in no order that matters."""

    @property
    def events(self) -> int:
        """How many events it was made of."""
        return len(self.entries) // ENTRY_BYTES

    @property
    def memory(self) -> int:
        """Bytes it is counted with."""
        return len(self.trajectory_id) + 300 + len(self.entries)

    def check_of(self, event_id: str) -> bytes | None:
        """Return the checksum under which an event is known, None if it is not."""
        wanted = id_hash(event_id)
        at = self.entries.find(wanted)
        while at >= 0 and at % ENTRY_BYTES:
            at = self.entries.find(wanted, at + 1)
        return None if at < 0 else self.entries[at + 8 : at + ENTRY_BYTES]

    def outranks(self, rank: tuple[datetime, bytes]) -> bool:
        """Whether its outcome stands against another of this rank."""
        return self.outcome_at is not None and (self.outcome_at, self.outcome_tie) >= rank

    def encode(self) -> bytes:
        """Return the marker's bytes without its id, which is the record's key."""
        at_us = -1 if self.outcome_at is None else _microseconds(self.outcome_at)
        head = _HEAD.pack(
            STATE_VERSION, self.opened_ms, self.closed_ms, self.revision, -1 if self.place is None else self.place,
            _REASONS.index(self.close_reason), self.size, self.events, at_us, self.ended,
            self.outcome_tie or bytes(8),
        )  # fmt: skip
        return head + self.entries


def decode(trajectory_id: str, data: bytes) -> Marker:
    """Read a marker's bytes."""
    _, opened, closed, revision, place, reason, size, count, at_us, ended, tie = _HEAD.unpack_from(data)
    return Marker(
        trajectory_id, opened, closed, revision, None if place < 0 else place, _REASONS[reason], size, bool(ended),
        None if at_us < 0 else datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000),
        b"" if at_us < 0 else tie, data[_HEAD.size : _HEAD.size + count * ENTRY_BYTES],
    )  # fmt: skip


def entries_of(events: Iterable[tuple[str, bytes]]) -> bytes:
    """Pack events given as (id, bytes)."""
    return b"".join(id_hash(event_id) + checksum(raw) for event_id, raw in events)


def _microseconds(time: datetime) -> int:
    return int(time.replace(microsecond=0).timestamp()) * 1_000_000 + time.microsecond
