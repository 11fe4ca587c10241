"""What is sent, and in which order: runs become a stream of events, and events become records. Pure.

Rules: at most `concurrency` runs are under way at a time, and no more are held in memory; without `shuffle` the
events of a run keep their order; a duplicate is sent within the next thousand events; lap 2 and later give every
trajectory a new id. Lines that are no events are sent like all others.
"""

import heapq
import itertools
import random
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ops.recorded.run import RecordedEvent, RecordedRun, recorded
from schemas import StepEvent
from schemas.errors import SettingsError
from schemas.wire import NDJSON

EventId = tuple[str, str]
"""Trajectory id and event id."""

DUPLICATE_SPREAD = 1000
RECORD_BYTES = 1_000_000
"""A record of several events is closed before it grows beyond this."""
EVENTS_HELD = 10_000
"""So many events are held back for records of several, then the longest waiting goes out."""
_ID_CHARACTERS = 256


class Outgoing(NamedTuple):
    """One event that is to be sent."""

    key: bytes | None
    value: bytes
    trajectory_id: str | None
    event_id: str | None
    kind: Literal["step", "outcome", "unreadable"]
    checksum: int
    """CRC-32 of a step's content in UTF-8."""


class Record(NamedTuple):
    """One Kafka record; several events are NDJSON, and its header says so."""

    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    events: tuple[Outgoing, ...]


class Refusal(NamedTuple):
    """One event that the broker did not take, and why."""

    trajectory_id: str | None
    event_id: str | None
    reason: str


@dataclass
class Ledger:
    """What the broker acknowledged; `keep_ids=False` counts only, for a stream without an end."""

    keep_ids: bool = True
    acknowledged: int = 0
    """Events, duplicates included."""
    steps: dict[EventId, int] = field(default_factory=dict)
    """The checksum of each step's content."""
    outcomes: set[EventId] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    """The addresses (topic/partition/offset/line) of what was sent though it is no event."""
    refused: list[Refusal] = field(default_factory=list)

    def accept(self, record: Record, topic: str, partition: int, offset: int) -> None:
        """Enter a record that the broker acknowledged."""
        self.acknowledged += len(record.events)
        if not self.keep_ids:
            return
        for line, event in enumerate(record.events):
            if event.kind == "unreadable" or event.trajectory_id is None or event.event_id is None:
                self.unreadable.append(f"{topic}/{partition}/{offset}/{line}")
            elif event.kind == "step":
                self.steps.setdefault((event.trajectory_id, event.event_id), event.checksum)
            else:
                self.outcomes.add((event.trajectory_id, event.event_id))

    def refuse(self, record: Record, reason: str) -> None:
        """Enter a record that the broker did not take."""
        self.refused.extend(Refusal(event.trajectory_id, event.event_id, reason) for event in record.events)


def plan(
    runs: Iterable[RecordedRun],
    *,
    concurrency: int = 1,
    shuffle: bool = False,
    duplicate: float = 0.0,
    loop: bool = False,
    rng: random.Random,
) -> Iterator[Outgoing]:
    """Order the events of all runs; `duplicate` is the share that is sent twice, `loop` begins again for ever."""
    if concurrency < 1:
        raise SettingsError(f"concurrency is {concurrency!r}; give how many runs are under way at a time, from 1")
    if not 0 <= duplicate <= 1:
        raise SettingsError(f"duplicate is {duplicate!r}; give the share of events that is sent twice, from 0 to 1")
    if loop and iter(runs) is runs:
        raise SettingsError("runs that can be read only once can't be sent in a loop; give a list or a Recording")
    events = _interleave(_laps(runs, loop=loop), concurrency, rng, shuffle=shuffle)
    return _with_duplicates(events, duplicate, rng) if duplicate else events


def _laps(runs: Iterable[RecordedRun], *, loop: bool) -> Iterator[list[Outgoing]]:
    for lap in itertools.count(1):
        sent = 0
        for run in runs:
            sent += len(run.events)
            yield [_outgoing(run, event, lap) for event in run.events]
        if not loop or not sent:
            return


def _outgoing(run: RecordedRun, own: RecordedEvent, lap: int) -> Outgoing:
    event = own.event
    if event is None:
        key = None if run.trajectory_id is None else run.trajectory_id.encode()
        return Outgoing(key, own.raw, run.trajectory_id, None, "unreadable", 0)
    if lap > 1:
        event = event.model_copy(update={"trajectory_id": _renamed(event.trajectory_id, lap)})
        own = recorded(event)
    return Outgoing(
        key=event.trajectory_id.encode(),
        value=own.raw,
        trajectory_id=event.trajectory_id,
        event_id=event.event_id,
        kind="step" if isinstance(event, StepEvent) else "outcome",
        checksum=zlib.crc32(event.content.encode()) if isinstance(event, StepEvent) else 0,
    )


def _renamed(trajectory_id: str, lap: int) -> str:
    suffix = f"#{lap}"
    return trajectory_id[: _ID_CHARACTERS - len(suffix)] + suffix


def _interleave(
    laps: Iterator[list[Outgoing]], concurrency: int, rng: random.Random, *, shuffle: bool
) -> Iterator[Outgoing]:
    """Take the next event of a run that is under way, drawn at random; a finished run makes room for another."""
    under_way: list[deque[Outgoing]] = []
    while True:
        while len(under_way) < concurrency and (events := next(laps, None)) is not None:
            if shuffle:
                rng.shuffle(events)
            if events:
                under_way.append(deque(events))
        if not under_way:
            return
        place = rng.randrange(len(under_way))
        yield under_way[place].popleft()
        if not under_way[place]:
            under_way[place] = under_way[-1]
            under_way.pop()


def _with_duplicates(events: Iterator[Outgoing], share: float, rng: random.Random) -> Iterator[Outgoing]:
    copies: list[tuple[int, int, Outgoing]] = []
    for position, event in enumerate(events):
        yield event
        if rng.random() < share:
            heapq.heappush(copies, (position + rng.randint(1, DUPLICATE_SPREAD), position, event))
        while copies and copies[0][0] <= position:
            yield heapq.heappop(copies)[-1]
    while copies:
        yield heapq.heappop(copies)[-1]


def records(events: Iterable[Outgoing], most: int = 1, max_bytes: int = RECORD_BYTES) -> Iterator[Record]:
    """Gather up to `most` events of one key in a record; what is held back is bounded, and sent at the end."""
    if most < 1:
        raise SettingsError(f"{most!r} events a record can't be sent; give a number from 1")
    if most == 1:
        return (Record(event.key, event.value, [], (event,)) for event in events)
    return _gathered(events, most, max_bytes)


@dataclass
class _Gathering:
    events: list[Outgoing] = field(default_factory=list)
    size: int = 0

    def add(self, event: Outgoing) -> None:
        self.events.append(event)
        self.size += len(event.value) + 1

    def record(self) -> Record:
        value = b"\n".join(event.value for event in self.events)
        return Record(self.events[0].key, value, [("content-type", NDJSON)], tuple(self.events))


def _gathered(events: Iterable[Outgoing], most: int, max_bytes: int) -> Iterator[Record]:
    held: dict[bytes | None, _Gathering] = {}
    count = 0
    for event in events:
        own = held.get(event.key)
        if own and own.size + len(event.value) > max_bytes:
            count -= len(own.events)
            yield held.pop(event.key).record()
        own = held.setdefault(event.key, _Gathering())
        own.add(event)
        count += 1
        if len(own.events) == most or count > EVENTS_HELD:
            full = held.pop(event.key if len(own.events) == most else next(iter(held)))
            count -= len(full.events)
            yield full.record()
    yield from (rest.record() for rest in held.values())
