"""The streams worker on a real Kafka reads what was committed, and in the order in which it was committed."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from ops.client import apply_topics
from schemas import Event, TopicName
from streams.home import home_partition
from streams.settings import StreamsSettings
from tests.conftest import Broker
from tests.factories import outcome, raw, step
from tests.streams.test_worker_kafka import PARTITIONS, send, trajectories, until, working

pytestmark = pytest.mark.kafka
PLACE = home_partition("kept", PARTITIONS)
ABORTED = next(one for one in (f"aborted-{number}" for number in range(99)) if home_partition(one, PARTITIONS) == PLACE)


@pytest.fixture
async def broker(kafka_alone: Broker) -> str:
    await apply_topics(kafka_alone.bootstrap, partitions=PARTITIONS, replicas=1)
    return kafka_alone.bootstrap


def _settings(bootstrap: str, group: str) -> StreamsSettings:
    return StreamsSettings(
        bootstrap=bootstrap, streams_group=group, checkpoint_ms=200, fetch_wait_ms=100, session_timeout_ms=3_000
    )


def _ended(trajectory_id: str) -> Event:
    return step(trajectory_id, 0, final=True, outcome=outcome())


async def test_of_two_runs_on_one_partition_the_aborted_one_is_never_published(broker: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker, transactional_id="a-sender")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(TopicName.STEP_EVENTS, raw(_ended(ABORTED)), partition=PLACE)
    await producer.abort_transaction()
    await producer.stop()
    await send(broker, _ended("kept"))
    async with working(_settings(broker, "aborted")):
        await until(1, lambda: trajectories(broker))
    assert [one.trajectory_id for one in await trajectories(broker)] == ["kept"]


async def test_nothing_is_published_while_its_sender_may_still_abort(broker: str) -> None:
    ready = len(await trajectories(broker)) + 1
    producer = AIOKafkaProducer(bootstrap_servers=broker, transactional_id="a-slow-sender")
    await producer.start()
    async with working(_settings(broker, "open")):
        await send(broker, _ended("ready"))
        await until(ready, lambda: trajectories(broker))
        async with producer.transaction():
            await producer.send_and_wait(TopicName.STEP_EVENTS, raw(_ended(f"{ABORTED}-2")), partition=PLACE)
            await send(broker, *(_ended(f"behind-{number}") for number in range(4)), partition=PLACE)
            await asyncio.sleep(1)  # some checkpoints
            assert len(await trajectories(broker)) == ready
        await producer.stop()
        await until(ready + 5, lambda: trajectories(broker))
