"""The assembler of one partition: step events in, one ordered trajectory a run out, once; no I/O.

    fold(record)      a record's events join their trajectories
    passed(ms)        the broker answered twice with nothing in between

What closes, and what a checkpoint takes along, is decided in checkpoint.py.

Rules: an event is known by its trajectory and its id, the first bytes stand; within the late window a late step or
a newer outcome reopens a closed trajectory; what a limit closed takes outcomes only; an event of another home is
forwarded once; nothing is dropped in silence.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas import CloseReason, DeadLetter, DeadLetterReason, Event, OutcomeEvent, PipelineEvent, TopicName
from schemas.dead_letter import LETTER_BYTES
from schemas.fields import EARLIEST
from schemas.topics import MB
from schemas.wire import BadLine, Line, is_ndjson, read_line, read_lines

from .clock import PartitionClock
from .held import OpenTrajectory, standing
from .home import home_partition
from .limits import Limits
from .marker import Marker, checksum
from .relay import FORWARDED, Relays, Told, told
from .route import Spent

UNOPENED = (("agentracer.unopened", b""),)
"""This very object as the headers of a record: it stands for a compressed batch that holds too much to be opened."""
UNREADABLE = (("agentracer.unreadable", b""),)
"""The same for records that no client can read, a header's name that is not UTF-8 for one."""
_AHEAD = timedelta(days=1)
_STAGE = "assemble"
_OUTCOMES_OVER_LIMIT = 1_000


class SourceRecord(NamedTuple):
    """One record of `step-events`, as fetched."""

    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Forward(NamedTuple):
    """An event on its way to its home partition."""

    partition: int
    trajectory_id: str
    raw: bytes


@dataclass(slots=True)
class Pending:
    """What the next checkpoint takes along beside trajectories."""

    dead_letters: list[DeadLetter] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    outcomes: list[tuple[str, bytes]] = field(default_factory=list)
    reports: list[PipelineEvent] = field(default_factory=list)
    events: int = 0
    size: int = 0


class Assembler:
    """One partition's open and recently closed trajectories."""

    def __init__(self, partition: int, partitions: int, limits: Limits) -> None:
        self.partition = partition
        self.partitions = partitions
        self.limits = limits
        self._max_steps, self._max_bytes = limits.max_steps, limits.max_bytes
        self.clock = PartitionClock(limits.max_gap_ms)
        self.next_offset: int | None = None
        self.open: dict[str, OpenTrajectory] = {}
        """Longest quiet first."""
        self.markers: dict[str, Marker] = {}
        """Longest closed first."""
        self.pending = Pending()
        self.dirty: dict[str, None] = {}
        """Those with events since the last checkpoint."""
        self.soon: dict[str, None] = {}
        """Those that may close before they fall idle."""
        self.by_age: dict[str, None] = {}
        """First opened first; without the reopened."""
        self.open_bytes = 0
        self.marker_bytes = 0
        self.spent: Spent = {}
        self.relays: Relays = {}
        """The homes that this partition forwards to."""
        self.elsewhere: dict[int, int] = {}
        """The time of the partitions that forward to this one, as they told it last."""
        self._told: Told | None = None
        self._now_ms = 0
        """Watched time of the record that is being folded."""
        self._at: SourceRecord = SourceRecord(-1, 0, None, None)
        self._line = 0
        self._newest = EARLIEST

    def fold(self, record: SourceRecord) -> None:
        """Take one record; below the offset that the state includes it is skipped."""
        if self.next_offset is not None and record.offset < self.next_offset:
            return
        if record.append_ms != self._at.append_ms:
            self._newest = datetime.fromtimestamp(record.append_ms / 1000, UTC) + _AHEAD
            self.clock.appended(record.append_ms)
        self._at, self._now_ms = record, self.clock.watched_ms
        self._told = self._time_told(record.headers) if record.headers else None
        for line in _lines(record) if self._told is None or record.value else ():
            self._line = line.number
            if isinstance(line, BadLine):
                self.refuse(line.reason, line.message, line.raw)
            else:
                self._take(line)
        self.next_offset = record.offset + 1
        self.pending.size += len(record.value or b"")

    def _time_told(self, headers: tuple[tuple[str, bytes], ...]) -> Told | None:
        """Take note of the time that another partition tells with this record; with no value that is all."""
        found = told(headers)
        if found is None or found.partition == self.partition or found.partition >= self.partitions:
            return None
        self.elsewhere[found.partition] = found.watched_ms
        return found

    def unprocessable(self, record: SourceRecord, error: Exception) -> None:
        """Make a dead letter of a record that raised, as a whole."""
        self._at, self._line = record, 0
        self.refuse(DeadLetterReason.UNPROCESSABLE, f"{type(error).__name__}: {error}", record.value)
        self.next_offset = record.offset + 1

    def passed(self, elapsed_ms: int) -> None:
        """Let the partition's time pass between two empty answers of the broker."""
        self.clock.passed(elapsed_ms)

    def _take(self, line: Line) -> None:
        event, raw = line.event, line.raw
        self.pending.events += 1
        if self._is_out_of_time(event):
            message = f"the time {event.time.isoformat()} is before 2000 or over a day ahead of the broker"
            self.refuse(DeadLetterReason.TIMESTAMP, message, raw)
            return
        trajectory = self.open.get(event.trajectory_id) or self._find(event, raw)
        if trajectory is None or (trajectory.may_know(event.event_id) and not self._is_new(trajectory, event, raw)):
            return
        limit, count, size = trajectory.limit, trajectory.count, trajectory.total_size
        has_room = limit is None and count < self._max_steps and size + len(raw) <= self._max_bytes
        if has_room or not self._is_over_limit(limit, count, size, event, raw):
            self._add(trajectory, event, raw)
            return
        if limit is None:
            limit = trajectory.limit = CloseReason.TOO_LONG
            self.soon[trajectory.trajectory_id] = None
        self._over_limit(limit, count, size, raw)

    def _is_out_of_time(self, event: Event) -> bool:
        newest = self._newest
        if isinstance(event, OutcomeEvent):
            return not EARLIEST <= event.at <= newest
        ended = event.ended_at
        return not EARLIEST <= event.started_at <= newest or (ended is not None and not EARLIEST <= ended <= newest)

    def _find(self, event: Event, raw: bytes) -> OpenTrajectory | None:
        """Open or reopen the event's trajectory; None when the event is dealt with."""
        marker = self.markers.get(event.trajectory_id)
        if marker is not None and not self.is_past(marker):
            return self._reopen(marker, event, raw)
        if len(raw) > self.limits.max_bytes:  # wherever it is read: on its way home it might not fit the topic
            self.refuse(DeadLetterReason.TOO_LARGE, f"{len(raw)} bytes are more than a trajectory may have", raw)
            return None
        home = home_partition(event.trajectory_id, self.partitions)
        if home != self.partition:
            self._send_home(home, event, raw)
            return None
        return self._open(event.trajectory_id)

    def is_past(self, marker: Marker) -> bool:
        """Whether its late window is over: the next checkpoint drops it, and its id is another run until then."""
        return marker.closed_ms < self.clock.time_ms - self.limits.late_window_ms

    def is_just_opened(self, marker: Marker) -> bool:
        """Whether its id could still come back with the same `opened_at`, as the same run."""
        return marker.opened_ms >= self._at.append_ms

    def _open(self, trajectory_id: str) -> OpenTrajectory:
        trajectory = OpenTrajectory(trajectory_id, self._at.append_ms, self.clock.watched_ms)
        self.open[trajectory_id] = trajectory
        self.by_age[trajectory_id] = None
        return trajectory

    def _send_home(self, home: int, event: Event, raw: bytes) -> None:
        if any(name == FORWARDED for name, _ in self._at.headers):
            message = f"its home is partition {home}, it was forwarded to {self.partition}; were partitions added?"
            self.refuse(DeadLetterReason.MISROUTED, message, raw)
        else:
            self.pending.forwards.append(Forward(home, event.trajectory_id, raw))

    def _reopen(self, marker: Marker, event: Event, raw: bytes) -> OpenTrajectory | None:
        check = marker.check_of(event.event_id)
        if check is not None:
            if check != checksum(raw):
                self._conflict(event.event_id, raw)
            return None
        limit = marker.close_reason if marker.close_reason.is_limit else None
        if self._is_over_limit(limit, marker.events, marker.size, event, raw):
            self._over_limit(limit or CloseReason.TOO_LONG, marker.events, marker.size, raw)
            return None
        brought = standing(event)
        if isinstance(event, OutcomeEvent) and (brought is None or marker.outranks(brought.rank)):
            self.pending.outcomes.append((event.trajectory_id, raw))
            return None
        del self.markers[marker.trajectory_id]
        self.marker_bytes -= marker.memory
        self.open_bytes += marker.memory
        trajectory = OpenTrajectory(marker.trajectory_id, marker.opened_ms, self.clock.watched_ms, marker)
        trajectory.ended, trajectory.limit = marker.ended, limit
        self.open[marker.trajectory_id] = trajectory
        return trajectory

    def _is_new(self, trajectory: OpenTrajectory, event: Event, raw: bytes) -> bool:
        event_id = event.event_id
        known = trajectory.known(event_id)
        if known is None:
            check = trajectory.marker.check_of(event_id) if trajectory.marker else None
            if check is None:
                return True
            same = check == checksum(raw)
        else:
            same = known == raw or _is_same(known, raw)
        if not same:
            self._conflict(event_id, raw)
        return False

    def _is_over_limit(self, limit: CloseReason | None, count: int, size: int, event: Event, raw: bytes) -> bool:
        """Beyond a limit no step is taken, but still an outcome."""
        is_outcome = isinstance(event, OutcomeEvent)
        if limit is not None and not is_outcome:
            return True
        more_events, more_bytes = (_OUTCOMES_OVER_LIMIT, MB) if is_outcome else (0, 0)
        return count >= self.limits.max_steps + more_events or size + len(raw) > self.limits.max_bytes + more_bytes

    def _over_limit(self, limit: CloseReason, count: int, size: int, raw: bytes) -> None:
        message = f"its trajectory holds {count} events and {size} bytes and takes no more: {limit}"
        self.refuse(DeadLetterReason.OVER_LIMIT, message, raw)

    def _add(self, trajectory: OpenTrajectory, event: Event, raw: bytes) -> None:
        trajectory.add(event, raw)
        trajectory.last_ms = self._now_ms
        if self._told is not None:
            trajectory.via = {**(trajectory.via or {}), self._told.partition: self._told.watched_ms}
        trajectory_id = trajectory.trajectory_id
        self.open_bytes += len(raw)
        self.dirty[trajectory_id] = None
        self.open[trajectory_id] = self.open.pop(trajectory_id)
        if trajectory.ended or trajectory.marker is not None or trajectory.limit is not None:
            self.soon[trajectory_id] = None
        if isinstance(event, OutcomeEvent):
            self.pending.outcomes.append((trajectory_id, raw))

    def _conflict(self, event_id: str, raw: bytes) -> None:
        message = f"the event id {event_id!r} stands already with other content; the first stays"
        self.refuse(DeadLetterReason.CONFLICT, message, raw)

    def refuse(self, reason: DeadLetterReason, message: str, raw: bytes | None) -> None:
        """Make a dead letter of the line that is being folded."""
        key = self._at.key
        if (size := len(raw or b"") + len(key or b"")) > LETTER_BYTES:
            raw = key = None
            message = f"{size} bytes are too many for a dead letter and stay at its address; {message}"
        self.pending.dead_letters.append(
            DeadLetter(
                topic=TopicName.STEP_EVENTS, partition=self.partition, offset=self._at.offset, line=self._line,
                reason=reason, message=message, stage=_STAGE, key=key, value=raw,
                at=datetime.fromtimestamp(self._at.append_ms / 1000, UTC),
            )
        )  # fmt: skip


def _lines(record: SourceRecord) -> Iterable[Line | BadLine]:
    if not record.headers:
        return read_lines(record.value)
    if record.headers is UNOPENED:
        message = f"records {_text(record)} are one compressed batch that holds too much to be opened"
        return [BadLine(0, None, DeadLetterReason.TOO_LARGE, f"{message}; send smaller batches")]
    if record.headers is UNREADABLE:
        message = f"records {_text(record)} are not as Kafka has them; look at their headers' names"
        return [BadLine(0, None, DeadLetterReason.UNPROCESSABLE, message)]
    return read_lines(record.value, ndjson=is_ndjson(record.headers))


def _text(record: SourceRecord) -> str:
    return (record.value or b"").decode()


def _is_same(one: bytes, other: bytes) -> bool:
    """Whether two events that differ in their bytes say the same; JSON's true is not its 1."""
    return _content(one) == _content(other)


def _content(raw: bytes) -> str:
    line = read_line(raw)
    assert isinstance(line, Line)
    return json.dumps(line.event.model_dump(mode="json"), sort_keys=True)
