"""The partitions that this worker holds: restored on assignment, folded batch by batch, written by checkpoints.

Rules: a partition is restored, with its predecessor fenced, before a batch of it is folded; a checkpoint that can't
be written stops the worker, one that is fenced drops the partition; what is revoked is written once more and given
up. Nothing here knows Faust or Kafka beyond the two clients it is handed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from schemas import PipelineEvent, PipelineEventKind, TopicName
from schemas.errors import OffsetsLostError, StateError
from schemas.health import Health, Part, silence
from schemas.metrics import UNMETERED, Metric, Metrics

from .assemble import Assembler, SourceRecord
from .brake import Brake
from .cache import ClosedCache
from .checkpoint import Checkpoint, Due, collect, committed, due, has_room, restore, to_be_told
from .close import Base, pipeline_id, read_base
from .kafka import FencedError, PartitionWriter
from .measure import forget_partition, late_events, measure_checkpoint, measure_held, measure_read_back
from .reader import PartitionReader
from .route import RoutingRules
from .settings import StreamsSettings
from .state import read_state

log = logging.getLogger("agentracer.streams")
YIELD_EVERY = 500
MOST_LETTERS = 10_000
"""Dead letters that wait for a checkpoint; a letter takes a hundred times the room of a line of rubbish."""
LOOK_S = 1.0
"""How often the broker's silence is looked at during a checkpoint."""
FENCED_S = 60.0
"""How long a fenced worker waits for its next assignment, while the broker answers."""
ASKED_S = 5.0
"""How often a fenced worker asks whether the broker is there, and how long for an answer."""


class Batch(Protocol):
    """What one fetch returned of a partition."""

    @property
    def partition(self) -> int:
        """Which."""

    @property
    def epoch(self) -> int:
        """In which assignment it was fetched."""

    @property
    def number(self) -> int:
        """The how-manieth of its partition in its epoch."""

    @property
    def records(self) -> list[SourceRecord]:
        """In the order of the log."""


class Answer(Protocol):
    """What the broker last said about a partition."""

    @property
    def at(self) -> int:
        """Tell one answer from the next."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was left to read, and all that was read is folded."""

    @property
    def position(self) -> int:
        """Up to which offset it was read."""

    @property
    def end(self) -> int:
        """Up to which offset there was something to read."""


@dataclass(slots=True)
class Held:
    """One partition that this worker holds."""

    assembler: Assembler
    writer: PartitionWriter
    epoch: int
    cache: ClosedCache
    batches: int = 0
    """Batches folded in this epoch."""
    brake: Brake = field(default_factory=Brake)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: asyncio.Task[None] | None = None
    """The last checkpoint that folding began, and goes on beside."""
    written_at: float = 0.0
    written_offset: int | None = None
    answered: int | None = None
    answered_at: float = 0.0
    was_empty: bool = False
    moved: tuple[int, int | None] | None = None
    """The last answer, and the offset that was folded up to when it was looked at."""
    moved_at: float = field(default_factory=monotonic)


class Partitions:
    """Everything between a fetched batch and a committed transaction."""

    def __init__(
        self,
        settings: StreamsSettings,
        rules: RoutingRules,
        partitions: int,
        *,
        on_fatal: Callable[[BaseException], None],
        metrics: Metrics = UNMETERED,
        health: Health | None = None,
    ) -> None:
        self.settings = settings
        self.rules = rules
        self.count = partitions
        self.held: dict[int, Held] = {}
        self.reader = PartitionReader(settings)
        self._on_fatal = on_fatal
        self._metrics = metrics
        self.health = health or Health()
        self._fence: FencedError | None = None
        """What another worker has taken over, until the next assignment."""
        self._fenced_at = 0.0
        self._asked_at = 0.0

    # on assignment

    async def take_over(self, partitions: Iterable[int], epoch: int) -> Mapping[int, int]:
        """Give up what is held, restore these partitions, and return the offsets to go on from."""
        await self.release()
        self._fence = None
        wanted = list(partitions)
        self.health.ready(Part.PARTITIONS, f"being restored: partitions {', '.join(map(str, wanted))}")
        first = await self.reader.beginning(TopicName.STEP_EVENTS, wanted)
        restored = await asyncio.gather(
            *(self._restore(partition, epoch, first[partition]) for partition in wanted), return_exceptions=True
        )
        self.held |= {one.assembler.partition: one for one in restored if isinstance(one, Held)}
        for one in restored:
            if isinstance(one, BaseException) and not isinstance(one, FencedError):
                self._on_fatal(one)
                return {}
        self.health.ready(Part.PARTITIONS)
        for partition, one in zip(wanted, restored, strict=True):
            if isinstance(one, FencedError):
                self._note_fence(partition, one)
        return {one: held.assembler.next_offset or first[one] for one, held in self.held.items()}

    async def _restore(self, partition: int, epoch: int, first: int) -> Held:
        writer = PartitionWriter(self.settings, partition)
        try:
            return await self._restored(writer, epoch, first)
        except BaseException:
            await writer.stop()
            raise

    async def _restored(self, writer: PartitionWriter, epoch: int, first: int) -> Held:
        partition = writer.partition
        await writer.start()
        assembler = Assembler(partition, self.count, self.settings.limits)
        state = read_state(await self.reader.state(writer))
        restore(assembler, state)
        held = Held(assembler, writer, epoch, ClosedCache(self.settings.limits.cache_bytes), written_at=monotonic())
        held.brake = Brake(self.settings.brake, None if state.source is None else state.source.refusals)
        held.written_offset = assembler.next_offset
        log.info(
            "partition restored",
            extra={"partition": partition, "offset": assembler.next_offset, "open": len(assembler.open)},
        )
        if assembler.next_offset is not None and assembler.next_offset < first:
            self._lost(assembler, first)
        return held

    def _lost(self, assembler: Assembler, first: int) -> None:
        """Refuse a gap between the state and the log, unless told to accept it."""
        missing, partition = first - (assembler.next_offset or 0), assembler.partition
        if not self.settings.accept_lost_offsets:
            raise OffsetsLostError(
                f"{missing} records of step-events/{partition} were deleted before they were read (the log starts at "
                f"{first}); set AGENTRACER_ACCEPT_LOST_OFFSETS=true to go on without them"
            )
        assembler.next_offset = first
        assembler.pending.reports.append(
            PipelineEvent(
                pipeline_event_id=pipeline_id(PipelineEventKind.OFFSETS_LOST, partition, first),
                kind=PipelineEventKind.OFFSETS_LOST,
                topic=TopicName.STEP_EVENTS,
                partition=partition,
                count=missing,
                at=assembler.clock.now(),
            )
        )

    # in between

    async def fold(self, batch: Batch) -> None:
        """Fold one batch; a batch of an assignment that has ended changes nothing."""
        partition, held = batch.partition, self.held.get(batch.partition)
        if held is None or held.epoch != batch.epoch:
            return
        if batch.number != held.batches:
            self._on_fatal(
                StateError(f"batch {held.batches} of partition {partition} went missing; start the worker again")
            )
            return
        held.batches += 1
        for number, record in enumerate(batch.records, 1):
            try:
                held.assembler.fold(record)
            except Exception as error:
                log.exception("record unprocessable", extra={"partition": partition, "offset": record.offset})
                held.assembler.unprocessable(record, error)
            if number % YIELD_EVERY == 0 or len(held.assembler.pending.dead_letters) >= MOST_LETTERS:
                await asyncio.sleep(0)
                await self._look(held)
                if self.held.get(partition) is not held:
                    return
        await self._look(held)

    async def _look(self, held: Held) -> None:
        """Write a checkpoint if it can't wait for its time; what trips the brake stops the worker instead."""
        assembler = held.assembler
        if self.held.get(assembler.partition) is not held:
            return
        if held.brake.has_tripped(assembler.partition, assembler.pending):
            await self.checkpoint(assembler.partition)
        elif self._is_full(held):
            await self._begin_checkpoint(held)

    async def _begin_checkpoint(self, held: Held) -> None:
        """Write a checkpoint while folding goes on, and wait for the one before only when as much again is pending."""
        if held.writing is not None and not held.writing.done():
            if not self._is_full(held, times=2):
                return
            await held.writing
        held.writing = asyncio.create_task(self.checkpoint(held.assembler.partition))

    def _is_full(self, held: Held, times: int = 1) -> bool:
        pending = held.assembler.pending
        return (
            pending.events >= times * self.settings.checkpoint_events
            or pending.size >= times * self.settings.checkpoint_bytes
            or len(pending.dead_letters) >= MOST_LETTERS
            or not has_room(held.assembler)
        )

    def answered(self, partition: int, answer: Answer | None) -> None:
        """Let time pass between two answers of the broker that had nothing in them."""
        held = self.held.get(partition)
        if held is None or answer is None:
            return
        now = monotonic()
        self._look_at_lag(held, answer, now)
        if answer.at == held.answered:
            return
        if answer.is_empty and held.was_empty:
            held.assembler.passed(round((now - held.answered_at) * 1000))
        held.answered, held.answered_at, held.was_empty = answer.at, now, answer.is_empty

    def _look_at_lag(self, held: Held, answer: Answer, now: float) -> None:
        assembler = held.assembler
        moved = answer.at, assembler.next_offset
        if moved == held.moved:
            return
        held.moved, held.moved_at = moved, now
        folded = answer.position if assembler.next_offset is None else assembler.next_offset
        lag = 0 if answer.is_empty else max(0, answer.end - folded)
        self._metrics.set(Metric.STREAMS_LAG, lag, partition=assembler.partition)

    def _look_at_broker(self, now: float) -> None:
        """Tell whether a partition has neither had an answer nor been folded for long."""
        moved_at = min((held.moved_at for held in self.held.values()), default=now)
        self.health.ready(Part.BROKER, silence(now - moved_at))

    async def tick(self) -> dict[int, int]:
        """Write the checkpoints that are due; return the offsets that the group may commit."""
        now = monotonic()
        self.health.beat()
        self._look_at_broker(now)
        old = [one for one, held in self.held.items() if now - held.written_at >= self.settings.checkpoint_ms / 1000]
        looking = asyncio.create_task(self._keep_looking())
        try:
            await asyncio.gather(*(self.checkpoint(partition) for partition in old))
        finally:
            looking.cancel()
        await self._look_at_fence()
        return {one: held.written_offset for one, held in self.held.items() if held.written_offset is not None}

    async def _look_at_fence(self) -> None:
        """End a worker that only seems to be a member: no new assignment came, though the broker is there."""
        if self._fence is None or monotonic() - self._asked_at < ASKED_S:
            return
        if not await self.reader.is_answered(ASKED_S):
            self._fenced_at = monotonic()
        self._asked_at = monotonic()
        if self._fence is not None and self._asked_at - self._fenced_at > FENCED_S:
            self._on_fatal(self._fence)

    async def _keep_looking(self) -> None:
        """Tell of a broker that holds a checkpoint up: nothing else turns meanwhile."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._look_at_broker(monotonic())

    async def checkpoint(self, partition: int) -> None:
        """Write everything since the last checkpoint in one transaction."""
        held = self.held.get(partition)
        if held is None:
            return
        try:
            async with held.lock:
                if self.held.get(partition) is held:
                    await self._write(held)
                    measure_held(self._metrics, held.assembler)
        except FencedError as error:
            await self._drop(partition, held)
            self._note_fence(partition, error)
        except Exception as error:  # noqa: BLE001 - whatever it was, this partition can't go on here
            await self._drop(partition, held)
            self._on_fatal(error)

    def _note_fence(self, partition: int, error: FencedError) -> None:
        """Take note that another worker has a partition; the group will say so too, or this worker ends."""
        log.warning("partition fenced", extra={"partition": partition})
        self._metrics.count(Metric.STREAMS_FENCED)
        self.health.ready(Part.PARTITIONS, f"partition {partition} was taken over by another worker")
        if self._fence is None:
            self._fence, self._fenced_at = error, monotonic()

    async def _write(self, held: Held) -> None:
        held.written_at = started = monotonic()
        assembler = held.assembler
        closing = due(assembler)
        news = closing or assembler.pending.reports or to_be_told(assembler)
        if assembler.next_offset is None or (not news and assembler.next_offset == held.written_offset):
            return
        bases = await self._bases(held, closing)
        held.brake.check(assembler.partition, assembler.pending)
        late = late_events(closing)
        checkpoint = collect(assembler, closing, bases, self.rules)
        source = checkpoint.source.model_copy(update={"refusals": held.brake.count})
        checkpoint = checkpoint._replace(source=source)
        places = await held.writer.write(checkpoint)
        committed(assembler, checkpoint, places)
        self._remember(held, checkpoint)
        held.written_offset = checkpoint.source.offset
        measure_checkpoint(self._metrics, checkpoint, late, monotonic() - started)

    async def _bases(self, held: Held, closing: list[Due]) -> dict[str, Base | None]:
        """Return the published content of what was reopened, from the cache or read back."""
        values: dict[str, bytes | None] = {}
        wanted: dict[int, str] = {}
        for one in (one.trajectory for one in closing):
            if one.marker is None:
                continue
            values[one.trajectory_id] = held.cache.get(one.trajectory_id, one.marker.revision)
            if values[one.trajectory_id] is None and one.marker.place is not None:
                wanted[one.marker.place] = one.trajectory_id
        found = await self.reader.places(TopicName.TRAJECTORIES, held.assembler.partition, wanted)
        measure_read_back(self._metrics, values.values(), found.values())
        values |= {wanted[place]: value for place, value in found.items()}
        return {trajectory_id: _read(trajectory_id, value) for trajectory_id, value in values.items()}

    def _remember(self, held: Held, checkpoint: Checkpoint) -> None:
        for one, _ in checkpoint.closed:
            held.cache.put(one.trajectory_id, one.marker.revision, one.value())

    # on revocation

    async def release(self) -> None:
        """Write what is held once more and give it up."""
        await asyncio.gather(*(self.checkpoint(partition) for partition in list(self.held)))
        for partition, held in list(self.held.items()):
            await self._drop(partition, held)
        self.health.ready(Part.PARTITIONS, "no partitions assigned")

    async def _drop(self, partition: int, held: Held) -> None:
        if self.held.get(partition) is held:
            del self.held[partition]
            forget_partition(self._metrics, partition)
        async with held.lock:  # a checkpoint that has just begun would wait for ever for a producer that is stopped
            await held.writer.stop()


def _read(trajectory_id: str, value: bytes | None) -> Base | None:
    try:
        base = None if value is None else read_base(value)
    except ValueError:
        log.exception("a published trajectory can't be read back", extra={"trajectory_id": trajectory_id})
        return None
    return base
