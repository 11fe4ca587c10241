"""A checkpoint on a real Kafka is all there or not at all, and only its partition's owner can write one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from itertools import count
from threading import Event
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.client import apply_topics
from schemas import TopicName
from streams.assemble import Assembler, SourceRecord
from streams.checkpoint import Checkpoint, collect, committed, due, restore
from streams.home import home_partition
from streams.kafka import FencedError, Outgoing, PartitionWriter
from streams.limits import Limits
from streams.partitions import Partitions
from streams.reader import PartitionReader
from streams.route import RoutingRules
from streams.settings import StreamsSettings
from streams.state import Restored, read_state
from tests.conftest import Broker
from tests.factories import START, outcome_event, raw, step

pytestmark = pytest.mark.kafka
PARTITIONS = 12
START_MS = round(START.timestamp() * 1000)
WRITTEN = (TopicName.TRAJECTORIES, TopicName.FAILED_TRAJECTORIES, TopicName.OUTCOMES, TopicName.DEAD_LETTERS)
_partitions = count()


class Ended(Exception):  # noqa: N818 - it stands for the end of a process
    """The process is gone."""


class Owner(PartitionWriter):
    """A writer that ends, or stands still, right after it has sent what belongs on one topic."""

    ends_after: TopicName | None = None
    freezes_after: TopicName | None = None

    def __init__(self, settings: StreamsSettings, partition: int) -> None:
        super().__init__(settings, partition)
        self.frozen, self.woken = Event(), Event()  # its sends may run on another thread

    async def _send(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        places = await super()._send(topic, partition, records)
        if topic == self.ends_after:
            raise Ended
        if topic == self.freezes_after:
            self.frozen.set()
            while not self.woken.is_set():
                await asyncio.sleep(0.01)
        return places


class Bed:
    """One partition of a test's own, and whoever owns it in turn."""

    def __init__(self, bootstrap: str, stack: AsyncExitStack) -> None:
        self.settings = StreamsSettings(bootstrap=bootstrap)
        self.partition = next(_partitions)
        self._stack = stack
        ids = (f"run-{number}" for number in count())
        self.run = next(one for one in ids if home_partition(one, PARTITIONS) == self.partition)

    async def owner(self) -> Owner:
        """Start the writer of a new owner."""
        writer = Owner(self.settings, self.partition)
        await writer.start()
        self._stack.push_async_callback(_stop, writer)
        return writer

    async def state(self, writer: PartitionWriter) -> Restored:
        """Read the state as a new owner does."""
        reader = PartitionReader(self.settings)
        await reader.start()
        try:
            return read_state(await reader.state(writer))
        finally:
            await reader.stop()

    def assembler(self, state: Restored) -> Assembler:
        """Go on from a state."""
        assembler = Assembler(self.partition, PARTITIONS, Limits())
        restore(assembler, state)
        return assembler

    async def visible(self, topic: TopicName) -> list[bytes]:
        """Return what whoever reads committed records finds of this test's partition; dead letters are on the first."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.bootstrap, isolation_level="read_committed")
        await consumer.start()
        try:
            place = TopicPartition(topic, 0 if topic is TopicName.DEAD_LETTERS else self.partition)
            return [one.value for one in await _read(consumer, place) if one.key in {self.run.encode(), self._bad_key}]
        finally:
            await consumer.stop()

    @property
    def _bad_key(self) -> bytes:
        return b"bad-" + self.run.encode()

    def opening(self) -> list[SourceRecord]:
        """Return the first step of a run."""
        return [SourceRecord(0, START_MS, None, raw(step(self.run)))]

    def ending(self) -> list[SourceRecord]:
        """Return its end, its outcome, and what is no event."""
        return [
            SourceRecord(1, START_MS, None, raw(outcome_event(self.run))),
            SourceRecord(2, START_MS, None, raw(step(self.run, 1, final=True))),
            SourceRecord(3, START_MS, self._bad_key, b"{"),
        ]


async def _stop(writer: PartitionWriter) -> None:
    try:
        await writer.stop()
    except KafkaError:
        return  # it was fenced in the middle of a transaction


async def _read(consumer: AIOKafkaConsumer, place: TopicPartition) -> list[Any]:
    end = (await consumer.end_offsets([place]))[place]
    consumer.assign([place])
    await consumer.seek_to_beginning(place)
    found: list[Any] = []
    while await consumer.position(place) < end:
        found += (await consumer.getmany(timeout_ms=100)).get(place, [])
    return found


def folded(assembler: Assembler, records: list[SourceRecord]) -> Checkpoint:
    for record in records:
        assembler.fold(record)
    return collect(assembler, due(assembler), {}, RoutingRules())


@pytest.fixture
async def bed(kafka_alone: Broker) -> AsyncIterator[Bed]:
    await apply_topics(kafka_alone.bootstrap, partitions=PARTITIONS, replicas=1)
    async with AsyncExitStack() as stack:
        yield Bed(kafka_alone.bootstrap, stack)


async def _opened(bed: Bed) -> Owner:
    """Write a checkpoint with an open trajectory; return its owner."""
    first = await bed.owner()
    assembler = bed.assembler(await bed.state(first))
    await first.write(folded(assembler, bed.opening()))
    return first


async def _assert_closed_once(bed: Bed, owner: Owner) -> None:
    """Go on from the state, and end the run."""
    assembler = bed.assembler(await bed.state(owner))
    checkpoint = folded(assembler, bed.ending())
    committed(assembler, checkpoint, await owner.write(checkpoint))
    assert [len(await bed.visible(topic)) for topic in WRITTEN] == [1, 1, 1, 1]
    (value,) = await bed.visible(TopicName.TRAJECTORIES)
    assert [value.count(raw(step(bed.run, index))[:-1]) for index in (0, 1)] == [1, 1]
    state = await bed.state(await bed.owner())
    assert state.source is not None
    assert (state.source.offset, state.segments, [one.trajectory_id for one in state.markers]) == (4, [], [bed.run])


async def test_a_new_owner_fences_the_one_before_which_then_writes_nothing(bed: Bed) -> None:
    first = await _opened(bed)
    state = await bed.state(first)
    late = folded(bed.assembler(state), bed.ending())
    second = await bed.owner()
    with pytest.raises(FencedError, match=f"partition {bed.partition} was taken over"):
        await first.write(late)
    assert [await bed.visible(topic) for topic in WRITTEN] == [[], [], [], []]
    assert await bed.state(second) == state
    await _assert_closed_once(bed, second)


@pytest.mark.parametrize("after", [TopicName.TRAJECTORIES, TopicName.ASSEMBLER_STATE])
async def test_an_owner_frozen_in_its_transaction_is_never_read_and_writes_nothing_when_it_wakes(
    bed: Bed, after: TopicName
) -> None:
    first = await _opened(bed)
    state = await bed.state(first)
    first.freezes_after = after
    writing = asyncio.create_task(first.write(folded(bed.assembler(state), bed.ending())))
    assert await asyncio.to_thread(first.frozen.wait, 30)
    second = await bed.owner()
    assert await bed.state(second) == state
    first.woken.set()
    with pytest.raises(FencedError):
        await writing
    assert [await bed.visible(topic) for topic in WRITTEN] == [[], [], [], []]
    assert await bed.state(second) == state
    await _assert_closed_once(bed, second)


@pytest.mark.parametrize("last", [*WRITTEN, TopicName.PIPELINE_EVENTS, TopicName.ASSEMBLER_STATE])
async def test_an_owner_that_ends_after_any_of_its_sends_has_written_nothing(bed: Bed, last: TopicName) -> None:
    first = await _opened(bed)
    state = await bed.state(first)
    assert [one.trajectory_id for one in state.segments] == [bed.run]
    first.ends_after = last
    with pytest.raises(Ended):
        await first.write(folded(bed.assembler(state), bed.ending()))
    assert [await bed.visible(topic) for topic in WRITTEN] == [[], [], [], []]
    second = await bed.owner()
    assert await bed.state(second) == state
    await _assert_closed_once(bed, second)


async def test_two_partitions_have_two_owners_that_do_not_fence_each_other(bed: Bed, kafka_alone: Broker) -> None:
    async with AsyncExitStack() as stack:
        other = Bed(kafka_alone.bootstrap, stack)
        mine, theirs = await asyncio.gather(_opened(bed), _opened(other))
        await _assert_closed_once(bed, mine)
        await _assert_closed_once(other, theirs)


async def test_a_partition_that_is_given_up_waits_for_the_checkpoint_that_has_just_begun(bed: Bed) -> None:
    fatal: list[BaseException] = []
    partitions = Partitions(bed.settings, RoutingRules(), PARTITIONS, on_fatal=fatal.append)
    await partitions.reader.start()
    try:
        async with asyncio.timeout(60):
            await partitions.take_over([bed.partition], epoch=1)
            held = partitions.held[bed.partition]
            held.assembler.fold(bed.opening()[0])
            checkpoint = asyncio.create_task(partitions.checkpoint(bed.partition))
            await asyncio.sleep(0)
            await partitions._drop(bed.partition, held)
            await checkpoint
    finally:
        await partitions.reader.stop()
    assert fatal == []
    assert (await bed.state(await bed.owner())).source is not None, "it was written"
