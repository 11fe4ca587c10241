"""The streams worker on a real Kafka: what it relies on of Faust, and what it does when it goes on from its state."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

from ops.client import apply_topics
from schemas import (
    CloseReason,
    DeadLetterReason,
    Event,
    PipelineEvent,
    PipelineEventKind,
    Result,
    TopicName,
    Trajectory,
)
from schemas.dead_letter import from_record
from schemas.errors import AgentracerError, BrokerUnavailableError, OffsetsLostError, PartitionCountError
from streams.home import home_partition
from streams.kafka import in_our_words, stopped_by
from streams.limits import Limits
from streams.reader import PartitionReader
from streams.settings import StreamsSettings
from streams.worker import run
from tests.conftest import Broker
from tests.factories import outcome, outcome_event, raw, step

pytestmark = pytest.mark.kafka
PARTITIONS = 2
FAST = Limits(idle_ms=2_000, grace_ms=300)


async def _remake_topics(bootstrap: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        ours = {name.value for name in TopicName}
        if existing := [name for name in await admin.list_topics() if name in ours]:
            await admin.delete_topics(existing)
        while ours & set(await admin.list_topics()):
            await asyncio.sleep(0.1)
    finally:
        await admin.close()
    for _ in range(30):
        try:
            await apply_topics(bootstrap, partitions=partitions, replicas=1)
        except (AgentracerError, KafkaError):
            await asyncio.sleep(0.3)
        else:
            return
    raise AssertionError("the topics can't be made")


@pytest.fixture
def broker(kafka_alone: Broker) -> str:
    asyncio.run(_remake_topics(kafka_alone.bootstrap, PARTITIONS))
    return kafka_alone.bootstrap


def _settings(bootstrap: str, **fields: Any) -> StreamsSettings:
    defaults: dict[str, Any] = {
        "bootstrap": bootstrap,
        "checkpoint_ms": 200,
        "fetch_wait_ms": 100,
        "session_timeout_ms": 3_000,
        "limits": FAST,
    }
    return StreamsSettings(**defaults | fields)


@asynccontextmanager
async def working(settings: StreamsSettings) -> AsyncIterator[asyncio.Task[bool]]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def send(bootstrap: str, *events: Event | bytes, partition: int | None = None, **kind: Any) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    for event in events:
        value = event if isinstance(event, bytes) else raw(event)
        key = b"any" if isinstance(event, bytes) else event.trajectory_id.encode()
        place = (
            partition if isinstance(event, bytes) or partition is not None else home_partition(key.decode(), PARTITIONS)
        )
        await producer.send_and_wait(TopicName.STEP_EVENTS, value, key=key, partition=place, **kind)
    await producer.stop()


async def _read(bootstrap: str, topic: TopicName) -> list[Any]:
    """Return every committed record of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    await consumer._client._wait_on_metadata(topic)
    places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic) or ()]
    ends = await consumer.end_offsets(places)
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    found: list[Any] = []
    while any([await consumer.position(place) < end for place, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=100)).values():
            found += records
    await consumer.stop()
    return found


async def trajectories(bootstrap: str) -> list[Trajectory]:
    return [Trajectory.model_validate_json(one.value) for one in await _read(bootstrap, TopicName.TRAJECTORIES)]


async def until(count: int, read: Callable[[], Awaitable[list[Any]]], within_s: float = 30) -> list[Any]:
    """Wait until so many are there."""
    deadline = asyncio.get_running_loop().time() + within_s
    while len(found := await read()) < count:
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.2)
    return found


def _ended(trajectory_id: str, steps: int = 3) -> list[Event]:
    last = steps - 1
    return [
        step(trajectory_id, index, final=index == last, outcome=outcome() if index == last else None)
        for index in range(steps)
    ]


async def test_a_worker_goes_on_from_its_state_and_reads_content_back_from_the_topic(broker: str) -> None:
    open_steps = [step("open", index) for index in range(4)]
    async with working(_settings(broker)):
        await send(broker, *_ended("closed"), *open_steps[:2])
        await until(1, lambda: trajectories(broker))
    async with working(_settings(broker)):
        late = outcome_event("closed", Result.SUCCESS)
        await send(broker, late, open_steps[2], open_steps[3].model_copy(update={"final": True}))
        found = await until(3, lambda: trajectories(broker))
    by_key = {(one.trajectory_id, one.revision): one for one in found}
    assert by_key.keys() == {("closed", 1), ("closed", 2), ("open", 1)}
    assert by_key["closed", 2].steps == by_key["closed", 1].steps
    assert by_key["closed", 2].outcome == late.outcome
    assert [one.event_id for one in by_key["open", 1].steps] == [one.event_id for one in open_steps]


async def test_a_run_without_an_end_closes_when_it_was_idle_and_not_because_the_worker_was_away(broker: str) -> None:
    async with working(_settings(broker)):
        await send(broker, step("long", 0))
        await asyncio.sleep(1)
    await asyncio.sleep(FAST.idle_ms / 1000 + 0.5)
    await send(broker, step("other", 0), step("long", 1))
    async with working(_settings(broker)):
        found = await until(2, lambda: trajectories(broker))
    assert {(one.trajectory_id, one.revision, len(one.steps)) for one in found} == {("long", 1, 2), ("other", 1, 1)}
    assert {one.close_reason for one in found} == {CloseReason.IDLE}


async def test_events_on_a_foreign_partition_are_forwarded_home_once(broker: str) -> None:
    async with working(_settings(broker)):
        for event in _ended("stray") + _ended("other-stray"):
            foreign = 1 - home_partition(event.trajectory_id, PARTITIONS)
            await send(broker, event, partition=foreign)
        found = await until(2, lambda: trajectories(broker))
        mixed = b"\n".join(map(raw, _ended("mixed-1") + _ended("mixed-2") + _ended("mixed-3")))
        await send(broker, mixed, partition=0, headers=[("content-type", b"application/x-ndjson")])
        found = await until(5, lambda: trajectories(broker))
    assert sorted(one.trajectory_id for one in found) == ["mixed-1", "mixed-2", "mixed-3", "other-stray", "stray"]
    assert all(len(one.steps) == 3 for one in found)


async def test_what_is_no_event_becomes_a_dead_letter_with_its_address_and_the_stream_goes_on(broker: str) -> None:
    bad_times = [step("y1970", 0).model_copy(update={"started_at": step().started_at.replace(year=1970)})]
    lines = [raw(event) for event in _ended("lines")]
    record = b"\n".join([*lines[:2], b"no json", lines[2]])
    async with working(_settings(broker)):
        await send(broker, b"\xff\xfe", b"[" * 10_000, *bad_times, partition=0)
        await send(broker, record, partition=1, headers=[("content-type", b"application/x-ndjson")])
        await send(broker, *_ended("fine"))
        found = await until(2, lambda: trajectories(broker))
        letters = [from_record(one.key, one.value, one.headers) for one in await _read(broker, TopicName.DEAD_LETTERS)]
    assert sorted(one.trajectory_id for one in found) == ["fine", "lines"]
    assert {(one.reason, one.partition, one.offset, one.line) for one in letters if one} == {
        (DeadLetterReason.NOT_UTF8, 0, 0, 0),
        (DeadLetterReason.NOT_JSON, 0, 1, 0),
        (DeadLetterReason.TIMESTAMP, 0, 2, 0),
        (DeadLetterReason.NOT_JSON, 1, 0, 2),
    }
    assert {one.value for one in letters if one} == {b"\xff\xfe", b"[" * 10_000, raw(bad_times[0]), b"no json"}


async def test_another_number_of_partitions_is_refused_in_one_sentence(broker: str) -> None:
    async with working(_settings(broker)):
        await send(broker, *_ended("first"))
        await until(1, lambda: trajectories(broker))
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.delete_topics([TopicName.STEP_EVENTS])
    await admin.close()
    await _remade(broker, 3)
    with pytest.raises(PartitionCountError, match="3 partitions, the state was written for 2"):
        await asyncio.wait_for(run(_settings(broker), asyncio.Event()), 30)


async def _remade(broker: str, partitions: int) -> None:
    """Make `step-events` again, with another number of partitions than its neighbours."""
    from aiokafka.admin import NewTopic  # noqa: PLC0415

    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    for _ in range(30):
        answer = await admin.create_topics([NewTopic(TopicName.STEP_EVENTS, partitions, 1)])
        if not answer.topic_errors[0][1]:
            break
        await asyncio.sleep(0.3)
    await admin.close()


async def test_step_events_deleted_before_they_were_read_stop_the_worker_unless_it_is_told_to_go_on(
    broker: str,
) -> None:
    first, gone, after = _ended("a"), _ended("b", 5), _ended("c")
    home = home_partition("a", PARTITIONS)
    async with working(_settings(broker)):
        await send(broker, *first, partition=home)
        await until(1, lambda: trajectories(broker))
    await send(broker, *[raw(event) for event in gone], partition=home)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.delete_records({TopicPartition(TopicName.STEP_EVENTS, home): RecordsToDelete(before_offset=6)})
    await admin.close()
    with pytest.raises(OffsetsLostError, match="3 records"):
        await asyncio.wait_for(run(_settings(broker), asyncio.Event()), 30)
    async with working(_settings(broker, accept_lost_offsets=True)):
        await send(broker, *after)
        found = await until(2, lambda: trajectories(broker))
        reports = await until(1, lambda: _read(broker, TopicName.PIPELINE_EVENTS))
    assert "c" in {one.trajectory_id for one in found}
    report = PipelineEvent.model_validate_json(reports[0].value)
    assert (report.kind, report.count, report.partition) == (PipelineEventKind.OFFSETS_LOST, 3, home)


async def test_places_that_the_log_no_longer_has_read_back_as_none(broker: str) -> None:
    async with working(_settings(broker)):
        await send(broker, *_ended("one"))
        await until(1, lambda: trajectories(broker))
    record = (await _read(broker, TopicName.TRAJECTORIES))[0]
    reader = PartitionReader(_settings(broker))
    await reader.start()
    try:
        found = await reader.places(TopicName.TRAJECTORIES, record.partition, [record.offset])
        assert found == {record.offset: record.value}
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        place = TopicPartition(TopicName.TRAJECTORIES, record.partition)
        await admin.delete_records({place: RecordsToDelete(before_offset=record.offset + 1)})
        await admin.close()
        assert await reader.places(TopicName.TRAJECTORIES, record.partition, [record.offset]) == {record.offset: None}
    finally:
        await reader.stop()


def test_a_stream_that_its_broker_ended_says_so_and_any_other_end_is_a_defect() -> None:
    lost = stopped_by(KafkaError("Unexpected error during coordination"), "host:9092")
    assert isinstance(lost, BrokerUnavailableError)
    assert "'host:9092'" in str(lost)
    assert stopped_by(RuntimeError(), "host:9092").exit_code == 1
    assert stopped_by(None, "host:9092").exit_code == 1


def test_what_the_brokers_client_raises_is_said_in_our_words_and_a_defect_stays_one() -> None:
    with pytest.raises(BrokerUnavailableError, match="'host:9092' ended the work"), in_our_words("host:9092"):
        raise KafkaError
    with pytest.raises(KeyError), in_our_words("host:9092"):
        raise KeyError
