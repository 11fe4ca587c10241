"""What a partition keeps on the compacted topic `assembler-state`, and how it is read back.

    source                       offset, partitions, clock and budget counts that everything else includes
    segment (id, opened, n)      the events that a trajectory took between two checkpoints, in the order they came
    marker  (id)                 a closed trajectory, for the late window
    end                          what the reader writes to know that it has read everything

Rules: an open trajectory is its segments folded again; a segment is written once and removed when the trajectory
closes; a record whose version is not known stops the worker.
"""

import json
import struct
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import StateError

from .brake import Count
from .held import OpenTrajectory
from .marker import STATE_VERSION, Marker, decode
from .relay import Relays

SOURCE_KEY = b"source"
END_KEY = b"end"
_SEGMENT = b"s"
_MARKER = b"m"
_HEAD = struct.Struct(">BqH")
_HEAD_1 = struct.Struct(">Bq")
"""Of version 1, which knew nothing of the partitions that forward."""
_VIA = struct.Struct(">Iq")
_LENGTH = struct.Struct(">I")

Record = tuple[bytes, bytes | None]
"""A key and a value; a value of None removes the key."""


class Source(BaseModel):
    """Up to where the state includes the source, and the partition's own time there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = STATE_VERSION
    offset: int
    partitions: int
    time_ms: int
    skipped_ms: int
    spent: list[tuple[str, int, int]] = []
    relays: Relays = {}
    elsewhere: dict[int, int] = {}
    refusals: Count = Count()

    @property
    def watched_ms(self) -> int:
        """The partition's time that counts towards idleness."""
        return self.time_ms - self.skipped_ms


class Segment(NamedTuple):
    """The events of one trajectory between two checkpoints."""

    trajectory_id: str
    opened_ms: int
    number: int
    last_ms: int
    via: dict[int, int] | None
    events: list[bytes]


class Restored(NamedTuple):
    """Everything a partition's state holds."""

    source: Source | None
    segments: list[Segment]
    markers: list[Marker]


def segment_key(trajectory_id: str, opened_ms: int, number: int) -> bytes:
    """Return the key of one segment; ids hold no control characters, so NUL separates."""
    return b"\0".join((_SEGMENT, trajectory_id.encode(), b"%d" % opened_ms, b"%d" % number))


def marker_key(trajectory_id: str) -> bytes:
    """Return the key of a closed-marker."""
    return _MARKER + b"\0" + trajectory_id.encode()


def segment_record(trajectory: OpenTrajectory) -> Record:
    """Return what a trajectory took since its last checkpoint."""
    key = segment_key(trajectory.trajectory_id, trajectory.opened_ms, trajectory.segments)
    via = trajectory.via or {}
    parts = [_HEAD.pack(STATE_VERSION, trajectory.last_ms, len(via)), *(_VIA.pack(*one) for one in via.items())]
    for raw in trajectory.fresh:
        parts += (_LENGTH.pack(len(raw)), raw)
    return key, b"".join(parts)


def tombstones(trajectory: OpenTrajectory) -> list[Record]:
    """Return what removes a closed trajectory's segments."""
    numbers = range(trajectory.segments)
    return [(segment_key(trajectory.trajectory_id, trajectory.opened_ms, number), None) for number in numbers]


def source_record(source: Source) -> Record:
    """Return the record that says what the state includes."""
    return SOURCE_KEY, json.dumps(source.model_dump(), separators=(",", ":")).encode()


def read_state(records: Iterable[tuple[bytes, bytes | None]]) -> Restored:
    """Read the state from its records, oldest first; the last of each key stands.

    Raises StateError where a record is of another version, or none of ours.
    """
    try:
        return _read_state(records)
    except (ValueError, IndexError, struct.error) as error:
        raise _unreadable(error) from error


def _read_state(records: Iterable[tuple[bytes, bytes | None]]) -> Restored:
    latest: dict[bytes, bytes] = {}
    for key, value in records:
        if value is None:
            latest.pop(key, None)
        else:
            latest[key] = value
    source, segments, markers = None, [], []
    for key, value in latest.items():
        kind, *rest = key.split(b"\0")
        if key == SOURCE_KEY:
            source = _read_source(value)
        elif kind == _SEGMENT:
            segments.append(_read_segment(rest, value))
        elif kind == _MARKER:
            _check_version(value[0])
            markers.append(decode(rest[0].decode(), value))
    return Restored(source, segments, markers)


def _read_source(value: bytes) -> Source:
    try:
        fields = json.loads(value)
        _check_version(fields.get("version") if isinstance(fields, dict) else None)
        return Source.model_validate(fields)
    except (ValueError, ValidationError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> StateError:
    return StateError(f"the assembler's state can't be read ({error}); was it written by this product?")


def _read_segment(parts: list[bytes], value: bytes) -> Segment:
    _check_version(value[0])
    if value[0] == 1:
        return _segment(parts, _HEAD_1.unpack_from(value)[1], None, value[_HEAD_1.size :])
    _, last_ms, ways = _HEAD.unpack_from(value)
    events_at = _HEAD.size + ways * _VIA.size
    via = dict(_VIA.iter_unpack(value[_HEAD.size : events_at]))
    return _segment(parts, last_ms, via or None, value[events_at:])


def _segment(parts: list[bytes], last_ms: int, via: dict[int, int] | None, value: bytes) -> Segment:
    events: list[bytes] = []
    at = 0
    while at < len(value):
        (length,) = _LENGTH.unpack_from(value, at)
        at += _LENGTH.size
        events.append(value[at : at + length])
        at += length
    return Segment(parts[0].decode(), int(parts[1]), int(parts[2]), last_ms, via, events)


def _check_version(version: object) -> None:
    if version not in range(1, STATE_VERSION + 1):
        raise StateError(
            f"the assembler's state has version {version!r}, this worker reads {STATE_VERSION}; upgrade it"
        )
