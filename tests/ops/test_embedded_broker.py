"""The embedded broker: what `demo` and `up` rely on, and the limits that its users have to know."""

import os
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import OffsetAndMetadata

from ops.embedded import broker as embedded
from ops.embedded.broker import EmbeddedBroker
from ops.kafka.ready import is_ready
from schemas.errors import BrokerUnavailableError

MEGABYTE = 1 << 20
LONG_AGO_MS = 1_600_000_000_000


@pytest.fixture
async def admin(broker: EmbeddedBroker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def producer(broker: EmbeddedBroker) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", max_request_size=40 * MEGABYTE)
    await client.start()
    yield client
    await client.stop()


async def create(admin: AIOKafkaAdminClient, partitions: int = 1, **settings: str) -> str:
    name = f"topic-{uuid4().hex}"
    configs = {setting.replace("_", "."): value for setting, value in settings.items()}
    await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    return name


async def read(
    broker: EmbeddedBroker, topic: str, count: int, partitions: int = 1
) -> tuple[list[Any], AIOKafkaConsumer]:
    """The first `count` records of a topic, read as all our consumers read, and the stopped consumer."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        fetch_max_bytes=80 * MEGABYTE,
        max_partition_fetch_bytes=40 * MEGABYTE,
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
    records: list[Any] = []
    deadline = time.monotonic() + 10
    while len(records) < count and time.monotonic() < deadline:
        for fetched in (await consumer.getmany(timeout_ms=200)).values():
            records += fetched
    await consumer.stop()
    return records, consumer


async def test_what_is_sent_is_read_in_order_with_its_headers(
    broker: EmbeddedBroker, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer
) -> None:
    topic = await create(admin)
    headers = [("content-type", b"application/x-ndjson"), ("odd", b"\x00\xff"), ("empty", b"")]
    for number in range(5):
        sent = await producer.send_and_wait(topic, b"%d" % number, key=b"key", headers=headers)
        assert sent.offset == number
    await producer.send_and_wait(topic, None, key=b"gone")
    records, consumer = await read(broker, topic, 6)
    assert [record.value for record in records] == [b"0", b"1", b"2", b"3", b"4", None]
    assert list(records[0].headers) == headers
    assert consumer.last_stable_offset(TopicPartition(topic, 0)) == 6


async def test_a_batch_is_acknowledged_with_its_first_offset(
    broker: EmbeddedBroker, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer
) -> None:
    topic = await create(admin)
    await producer.send_and_wait(topic, b"before")
    batch = producer.create_batch()
    for number in range(10):
        batch.append(key=None, value=b"%d" % number, timestamp=None)
    assert (await (await producer.send_batch(batch, topic, partition=0))).offset == 1
    assert (await producer.send_and_wait(topic, b"after")).offset == 11
    records, _ = await read(broker, topic, 12)
    assert [record.offset for record in records] == list(range(12))


async def test_a_record_of_32_megabytes_passes(
    broker: EmbeddedBroker, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer
) -> None:
    topic = await create(admin)
    value = os.urandom(32 * MEGABYTE)
    await producer.send_and_wait(topic, value)
    records, _ = await read(broker, topic, 1)
    assert records[0].value == value


async def test_many_partitions_each_keep_their_own(
    broker: EmbeddedBroker, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer
) -> None:
    topic = await create(admin, partitions=64)
    for number in range(64):
        await producer.send(topic, b"%d" % number, partition=number)
    await producer.flush()
    records, _ = await read(broker, topic, 64, partitions=64)
    assert {record.partition: record.value for record in records} == {number: b"%d" % number for number in range(64)}


async def test_a_topics_settings_are_kept_and_told(admin: AIOKafkaAdminClient) -> None:
    topic = await create(admin, cleanup_policy="compact", max_message_bytes="25165824")
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    told = {name: value for name, value, *_ in answers[0].resources[0][4]}
    assert told == {"cleanup.policy": "compact", "max.message.bytes": "25165824"}


async def test_a_group_goes_on_where_it_committed(
    broker: EmbeddedBroker, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer
) -> None:
    topic = await create(admin)
    for number in range(3):
        await producer.send_and_wait(topic, b"%d" % number)
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=f"group-{topic}", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([partition])
    await consumer.commit({partition: 2})
    assert await consumer.committed(partition) == 2
    await consumer.stop()


async def test_limit_timestamps_are_the_senders_and_the_metadata_of_a_commit_is_lost(
    broker: EmbeddedBroker, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer
) -> None:
    """A new version of the broker that breaks this test is better: tell it in the facts and drop the work-around."""
    topic = await create(admin, message_timestamp_type="LogAppendTime")
    await producer.send_and_wait(topic, b"old", timestamp_ms=LONG_AGO_MS)
    records, _ = await read(broker, topic, 1)
    assert (records[0].timestamp, records[0].timestamp_type) == (LONG_AGO_MS, 0)
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=f"group-{topic}", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([partition])
    await consumer.commit({partition: OffsetAndMetadata(1, "in work: 2")})
    await consumer.stop()
    offsets = await admin.list_consumer_group_offsets(f"group-{topic}", partitions=[partition])
    assert offsets[partition] == OffsetAndMetadata(1, "")


async def test_limit_the_latest_offset_is_that_of_the_last_batchs_first_record(
    broker: EmbeddedBroker, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer
) -> None:
    topic = await create(admin)
    batch = producer.create_batch()
    for _ in range(10):
        batch.append(key=None, value=b"x", timestamp=None)
    await (await producer.send_batch(batch, topic, partition=0))
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap)
    await consumer.start()
    partition = TopicPartition(topic, 0)
    assert await consumer.end_offsets([partition]) == {partition: 1}
    await consumer.stop()
    _, reader = await read(broker, topic, 10)
    assert reader.highwater(partition) == 10


def test_it_is_gone_with_its_block() -> None:
    with EmbeddedBroker() as broker:
        host, port = broker.bootstrap.split(":")
        assert is_ready(host, int(port))
    assert not is_ready(host, int(port))


def test_a_taken_port_is_named(broker: EmbeddedBroker) -> None:
    with pytest.raises(BrokerUnavailableError, match=f"{broker.port}.* is taken"):
        EmbeddedBroker(port=broker.port).start()


def test_a_missing_binary_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "/nowhere/tansu")
    with pytest.raises(BrokerUnavailableError, match="/nowhere/tansu"):
        embedded.broker_binary()


def test_a_binary_that_ends_at_once_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "/bin/false")
    with pytest.raises(BrokerUnavailableError, match="did not serve"):
        EmbeddedBroker().start()
