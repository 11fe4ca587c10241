"""A broker made of lists, and one partition's assembler on it: what a worker does, without a network or a clock.

Rules: a commit applies everything of a checkpoint or nothing; time passes when a test says so; bases are read back
from the published log, as bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas import CloseReason, DeadLetter, DeadLetterReason, Event, PipelineEvent, Trajectory
from schemas.wire import NDJSON
from streams.assemble import Assembler, SourceRecord
from streams.checkpoint import Checkpoint, Due, collect, committed, due, restore
from streams.close import Base, read_base
from streams.limits import Limits
from streams.relay import FORWARDED, time_header
from streams.route import RoutingRules
from streams.state import Record, read_state
from tests.factories import START, raw, step

START_MS = int(START.timestamp() * 1000)
MINUTE = 60_000
Headers = tuple[tuple[str, bytes], ...]
BATCH: Headers = (("content-type", NDJSON),)


@dataclass
class Topics:
    """What one partition of every topic holds."""

    steps: list[SourceRecord] = field(default_factory=list)
    trajectories: list[bytes] = field(default_factory=list)
    failed: list[bytes] = field(default_factory=list)
    outcomes: list[tuple[str, bytes]] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    reports: list[PipelineEvent] = field(default_factory=list)
    state: list[Record] = field(default_factory=list)


class ListBroker:
    """Partitions of lists, and the time at which records are appended."""

    def __init__(self, partitions: int = 1) -> None:
        self.now_ms = START_MS
        self.topics = [Topics() for _ in range(partitions)]

    def append(self, partition: int, value: bytes | None, headers: Headers = (), key: bytes | None = None) -> None:
        """Append one record to `step-events`."""
        steps = self.topics[partition].steps
        steps.append(SourceRecord(len(steps), self.now_ms, key, value, headers))

    def commit(self, partition: int, checkpoint: Checkpoint) -> list[int]:
        """Apply one checkpoint; return where its trajectories stand."""
        topics = self.topics[partition]
        first = len(topics.trajectories)
        topics.trajectories += [one.value() for one, _ in checkpoint.closed]
        places = list(range(first, len(topics.trajectories)))
        topics.failed += [
            one.value(routing.model_dump(mode="json")) for one, routing in checkpoint.closed if routing is not None
        ]
        topics.outcomes += checkpoint.outcomes
        topics.dead_letters += checkpoint.dead_letters
        topics.reports += checkpoint.reports
        time = time_header(partition, checkpoint.source.watched_ms)
        for forward in checkpoint.forwards:
            header = ((FORWARDED, b"%d" % partition), time)
            self.append(forward.partition, forward.raw, header, forward.trajectory_id.encode())
        for home in checkpoint.told:
            self.append(home, b"", (time,))
        topics.state += [*checkpoint.state, *checkpoint.last(places)]
        return places

    def compact(self, partition: int, *, tombstones: bool = False) -> None:
        """Keep the last record of each key, as a log cleaner does; tombstones leave later."""
        last = {key: number for number, (key, _) in enumerate(self.topics[partition].state)}
        self.topics[partition].state = [
            (key, value)
            for number, (key, value) in enumerate(self.topics[partition].state)
            if last[key] == number and (tombstones or value is not None)
        ]

    def state_keys(self, partition: int = 0) -> set[bytes]:
        """Return the keys that the state holds once it is compacted."""
        latest = dict(self.topics[partition].state)
        return {key for key, value in latest.items() if value is not None}

    def state_bytes(self, partition: int = 0) -> int:
        """Return all that was ever written to the state, in bytes."""
        return sum(len(key) + len(value or b"") for key, value in self.topics[partition].state)


class Worker:
    """One partition in the hands of a worker that can be killed."""

    def __init__(
        self,
        broker: ListBroker | None = None,
        partition: int = 0,
        *,
        limits: Limits | None = None,
        rules: RoutingRules | None = None,
    ) -> None:
        self.broker = broker or ListBroker()
        self.partition = partition
        self.limits = limits or Limits()
        self.rules = rules or RoutingRules()
        self.position = 0
        self.lost: set[int] = set()
        """Offsets on `trajectories` that can't be read back."""
        self.assembler = self._restored()

    @property
    def topics(self) -> Topics:
        """What this partition's topics hold."""
        return self.broker.topics[self.partition]

    def _restored(self) -> Assembler:
        assembler = Assembler(self.partition, len(self.broker.topics), self.limits)
        restore(assembler, read_state(self.topics.state))
        return assembler

    def kill(self, redelivered: int = 0) -> None:
        """Forget everything and start again from the state, with some records delivered again."""
        self.assembler = self._restored()
        self.position = max(0, (self.assembler.next_offset or 0) - redelivered)

    def read(self, most: int | None = None) -> None:
        """Fold what the log has from here on."""
        records = self.topics.steps[self.position :][:most]
        for record in records:
            self.assembler.fold(record)
        self.position += len(records)

    def send(self, *events: Event | bytes | None, headers: Headers = (), after_ms: int = 0) -> None:
        """Append a record an event, and fold them."""
        self.broker.now_ms += after_ms
        for event in events:
            value = event if event is None or isinstance(event, bytes) else raw(event)
            self.broker.append(self.partition, value, headers)
        self.read()

    def send_batch(self, *events: Event | bytes, separator: bytes = b"\n") -> None:
        """Append one NDJSON record, and fold it."""
        self.send(separator.join(one if isinstance(one, bytes) else raw(one) for one in events), headers=BATCH)

    def wait(self, elapsed_ms: int) -> None:
        """Let time pass in empty answers of the broker, half a second each."""
        self.broker.now_ms += elapsed_ms
        for _ in range(elapsed_ms // 500):
            self.assembler.passed(500)
        self.assembler.passed(elapsed_ms % 500)

    def bases(self, closing: Iterable[Due]) -> Mapping[str, Base | None]:
        """Read back what was reopened."""
        found: dict[str, Base | None] = {}
        for trajectory in (one.trajectory for one in closing):
            if trajectory.marker is not None:
                place = trajectory.marker.place
                assert place is not None
                found[trajectory.trajectory_id] = (
                    None if place in self.lost else read_base(self.topics.trajectories[place])
                )
        return found

    def collect(self) -> Checkpoint:
        """Take everything along, without writing it."""
        closing = due(self.assembler)
        return collect(self.assembler, closing, self.bases(closing), self.rules)

    def checkpoint(self) -> list[Trajectory]:
        """Write a checkpoint; return what it published."""
        if self.assembler.next_offset is None:
            return []
        checkpoint = self.collect()
        places = self.broker.commit(self.partition, checkpoint)
        committed(self.assembler, checkpoint, places)
        return [Trajectory.model_validate_json(self.topics.trajectories[place]) for place in places]

    def closed(self, elapsed_ms: int = 0) -> list[Trajectory]:
        """Let time pass and write a checkpoint."""
        self.wait(elapsed_ms)
        return self.checkpoint()

    def published(self) -> list[Trajectory]:
        """Return every revision on `trajectories`."""
        return [Trajectory.model_validate_json(value) for value in self.topics.trajectories]

    def letters(self) -> list[tuple[DeadLetterReason, int, int]]:
        """Return reason, offset and line of every dead letter."""
        return [(one.reason, one.offset, one.line) for one in self.topics.dead_letters]


def limited(**limits: int) -> Worker:
    """Return a worker with limits of its own."""
    return Worker(limits=Limits(**limits))


def ended(work: Worker, trajectory_id: str = "t1", *events: Event) -> Trajectory:
    """Send one whole trajectory of two steps, and more; return its first revision."""
    work.send(step(trajectory_id), *events)
    work.send(step(trajectory_id, 1, final=True))
    return next(one for one in work.closed(2_000) if one.trajectory_id == trajectory_id)


def summary(trajectories: list[Trajectory]) -> list[tuple[str, int, CloseReason, int]]:
    """Return id, revision, reason and number of steps of each."""
    return [(one.trajectory_id, one.revision, one.close_reason, len(one.steps)) for one in trajectories]
