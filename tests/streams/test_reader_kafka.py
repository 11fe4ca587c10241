"""Reading a partition's state on a real Kafka: to its owner's mark, and within the time that removals are kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from schemas import TopicName
from streams.kafka import PartitionWriter, removals_kept_s
from streams.partitions import Partitions
from streams.reader import PartitionReader
from streams.route import RoutingRules
from streams.settings import StreamsSettings
from streams.state import END_KEY, Record
from tests.conftest import Broker
from tests.streams.real import Sent, remake_topics, send

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
HOUR_S = 3600.0
FIRST: Record = (b"s\0run-1\x001\x000", b"what was there first")


class Owner(PartitionWriter):
    """An owner that keeps count of its marks."""

    marks = 0

    async def write_end(self, nonce: bytes) -> None:
        self.marks += 1
        await super().write_end(nonce)


@asynccontextmanager
async def owner_and_reader(broker: Broker) -> AsyncIterator[tuple[Owner, PartitionReader]]:
    await remake_topics(broker.bootstrap, partitions=1)
    settings = StreamsSettings(bootstrap=broker.bootstrap)
    owner, reader = Owner(settings, 0), PartitionReader(settings)
    await owner.start()
    await reader.start()
    await send(broker.bootstrap, Sent(FIRST[1], key=FIRST[0]), topic=TopicName.ASSEMBLER_STATE)
    try:
        yield owner, reader
    finally:
        await reader.stop()
        await owner.stop()


async def test_the_broker_says_how_long_it_keeps_removals(kafka_alone: Broker) -> None:
    await remake_topics(kafka_alone.bootstrap, partitions=1)
    assert await removals_kept_s(kafka_alone.bootstrap) == HOUR_S


async def test_a_state_that_took_longer_than_removals_are_kept_is_read_anew(kafka_alone: Broker) -> None:
    async with owner_and_reader(kafka_alone) as (owner, reader):
        reader.within_s = 2.0
        took = reader._consumer.getmany

        async def slow_once(**asked: Any) -> Any:
            reader._consumer.getmany = took
            found = await took(**asked)
            await asyncio.sleep(2.5)
            return found

        reader._consumer.getmany = slow_once
        assert await reader.state(owner) == [FIRST]
        assert owner.marks == 2


async def test_a_mark_that_a_successor_has_replaced_is_not_waited_for(kafka_alone: Broker) -> None:
    async with owner_and_reader(kafka_alone) as (owner, reader):
        wrote = owner.write_end

        async def replaced_once(nonce: bytes) -> None:
            owner.write_end = wrote  # type: ignore[method-assign]
            await wrote(b"compaction left that of the successor" if nonce else nonce)

        owner.write_end = replaced_once  # type: ignore[method-assign]
        assert await reader.state(owner) == [FIRST]
        assert owner.marks == 2


async def test_marks_are_no_state(kafka_alone: Broker) -> None:
    async with owner_and_reader(kafka_alone) as (owner, reader):
        for _ in range(3):
            found = await reader.state(owner)
        assert found == [FIRST]
        assert all(key != END_KEY for key, _ in found)


async def test_a_partition_that_is_taken_over_while_it_is_restored_is_left_to_its_new_owner(
    kafka_alone: Broker,
) -> None:
    await remake_topics(kafka_alone.bootstrap, partitions=2)
    settings, fatal = StreamsSettings(bootstrap=kafka_alone.bootstrap), list[BaseException]()
    partitions = Partitions(settings, RoutingRules(), 2, on_fatal=fatal.append)
    await partitions.reader.start()
    successor, read = PartitionWriter(settings, 1), partitions.reader.state

    async def overtaken(writer: PartitionWriter) -> list[Record]:
        if writer.partition == successor.partition:
            await successor.start()
        return await read(writer)

    partitions.reader.state = overtaken  # type: ignore[method-assign]
    try:
        assert await partitions.take_over([0, 1], epoch=1) == {0: 0}
        assert not fatal
        assert "taken over" in str(partitions.health.not_ready())
    finally:
        await partitions.release()
        await partitions.reader.stop()
        await successor.stop()
