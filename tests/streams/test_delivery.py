"""What delivery.py relies on inside Faust and aiokafka, for the pinned versions."""

import gc
import time
import weakref
from importlib.metadata import version

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as driver

from ops.client import apply_topics
from schemas import TopicName
from streams import delivery
from streams.assemble import SourceRecord
from tests.conftest import Broker

PLACE = TopicPartition(TopicName.STEP_EVENTS, 0)


def test_the_versions_are_those_that_this_was_tried_with() -> None:
    assert {one: version(one) for one in ("faust-streaming", "mode-streaming", "aiokafka")} == {
        "faust-streaming": "0.15.3",
        "mode-streaming": "0.7.1",
        "aiokafka": "0.14.0",
    }


def test_what_is_replaced_is_there_under_its_name() -> None:
    original = fetcher.PartitionRecords.__mro__[1]
    assert fetcher.PartitionRecords is delivery._Records
    assert hasattr(original, "_consumer_record")
    for name in ("_create_worker_consumer", "verify_event_path"):
        assert hasattr(driver.AIOKafkaConsumerThread, name)
    for name in ("_drain_messages", "_getmany", "_get_active_partitions", "perform_seek", "_new_consumer_thread"):
        assert hasattr(driver.Consumer, name)


async def _first(broker: Broker, *, is_ours: bool) -> SourceRecord | ConsumerRecord:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", check_crcs=False)
    for name in ("_isolation_level", "_fetch_max_wait_ms", "_key_deserializer"):
        assert hasattr(consumer, name)
    if is_ours:
        consumer._key_deserializer = delivery._as_source
    await consumer.start()
    consumer.assign([PLACE])
    try:
        while not (found := (await consumer.getmany(timeout_ms=500)).get(PLACE)):
            pass
    finally:
        await consumer.stop()
    return found[0]


@pytest.mark.kafka
async def test_only_a_marked_consumer_gets_records_of_the_assembler(kafka_alone: Broker) -> None:
    await apply_topics(kafka_alone.bootstrap, partitions=1, replicas=1)
    before = time.time() * 1000
    producer = AIOKafkaProducer(bootstrap_servers=kafka_alone.bootstrap)
    await producer.start()
    await producer.send_and_wait(PLACE.topic, b"value", key=b"key", headers=[("name", b"text")], timestamp_ms=1)
    await producer.stop()
    ours = await _first(kafka_alone, is_ours=True)
    theirs = await _first(kafka_alone, is_ours=False)
    assert isinstance(theirs, ConsumerRecord)
    assert isinstance(ours, SourceRecord)
    assert before - 5_000 < ours.append_ms == theirs.timestamp, "the broker's time, not the sender's"
    assert ours == SourceRecord(0, ours.append_ms, b"key", b"value", (("name", b"text"),))


def test_a_fetch_that_is_dropped_half_read_is_freed_at_once() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 10_000)
    for offset in range(3):
        builder.append(offset, 1, None, b"x", [])
    tp = TopicPartition("t", 0)
    gc.disable()
    try:
        read = MemoryRecords(bytes(builder.build()))
        records = fetcher.PartitionRecords(tp, read, [], 0, None, None, False, 0)
        result = fetcher.FetchResult(tp, assignment=None, partition_records=records, backoff=0)
        next(records)
        gone = weakref.ref(records)
        del records, result
        assert gone() is None
    finally:
        gc.enable()
