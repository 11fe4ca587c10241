"""A worker goes on where its state says: its group's offsets are for lag displays, and never ahead of the state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from ops.client import apply_topics
from schemas import TopicName
from schemas.metrics import Metric, Unmetered
from streams.home import home_partition
from streams.settings import StreamsSettings
from streams.worker import run
from tests.conftest import Broker
from tests.factories import outcome, step
from tests.streams.test_worker_kafka import PARTITIONS, send, trajectories, until, working

pytestmark = pytest.mark.kafka
STEPS = 6


class Lags(Unmetered):
    """The last lag of every partition."""

    def __init__(self) -> None:
        self.of: dict[object, float] = {}

    def set(self, name: Metric, value: float, /, **labels: object) -> None:
        if name is Metric.STREAMS_LAG:
            self.of[labels["partition"]] = value


@pytest.fixture
async def broker(kafka_alone: Broker) -> str:
    await apply_topics(kafka_alone.bootstrap, partitions=PARTITIONS, replicas=1)
    return kafka_alone.bootstrap


def _settings(bootstrap: str, group: str, checkpoint_ms: int = 200) -> StreamsSettings:
    return StreamsSettings(
        bootstrap=bootstrap,
        streams_group=group,
        checkpoint_ms=checkpoint_ms,
        fetch_wait_ms=100,
        session_timeout_ms=3_000,
    )


@asynccontextmanager
async def _group(bootstrap: str, group: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(TopicName.STEP_EVENTS, partition) for partition in range(PARTITIONS)])
        yield consumer
    finally:
        await consumer.stop()


async def test_a_worker_reads_on_from_its_state_wherever_its_group_says_it_is(broker: str) -> None:
    group = "ahead"
    await send(broker, *(step("ahead", index) for index in range(STEPS - 1)))
    async with _group(broker, group) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        await consumer.commit({place: OffsetAndMetadata(end, "") for place, end in ends.items()})
    async with working(_settings(broker, group)):
        await send(broker, step("ahead", STEPS - 1, final=True, outcome=outcome()))
        await until(1, lambda: _of(broker, "ahead"))
    ((one,),) = [await _of(broker, "ahead")]
    assert [event.step_index for event in one] == list(range(STEPS))


async def _of(broker: str, trajectory_id: str) -> list[list]:  # type: ignore[type-arg]
    return [list(one.steps) for one in await trajectories(broker) if one.trajectory_id == trajectory_id]


async def test_what_is_folded_and_not_yet_written_is_not_committed(broker: str) -> None:
    group, place = "folded", TopicPartition(TopicName.STEP_EVENTS, home_partition("folded", PARTITIONS))
    await send(broker, *(step("folded", index) for index in range(STEPS)))
    lags, stop = Lags(), asyncio.Event()
    working = asyncio.create_task(run(_settings(broker, group, checkpoint_ms=600_000), stop, lags))
    async with _group(broker, group) as consumer:
        try:
            async with asyncio.timeout(30):
                while lags.of.get(place.partition) != 0:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(1)  # ten looks at what may be committed
            assert await consumer.committed(place) in {None, 0}
        finally:
            stop.set()
            await working
