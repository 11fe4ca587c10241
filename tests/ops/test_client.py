"""The client of the command line on a real Apache Kafka and on the embedded broker.

The topics of the table are created and deleted here, so these tests have a Kafka of their own.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ops import client
from ops.child import free_port
from ops.client import apply_topics, check_topics, describe, publish, read_dead_letters, resend
from ops.embedded.broker import EmbeddedBroker
from ops.kafka.server import KafkaServer, jars
from ops.recorded.run import RecordedEvent, RecordedRun, recorded
from ops.send import Ledger, Outgoing, plan
from schemas import TOPICS, DeadLetter, DeadLetterReason, TopicName
from schemas.dead_letter import REDRIVEN, to_headers
from schemas.errors import BrokerUnavailableError, KafkaUnavailableError, SettingsError, TopicError
from schemas.wire import is_ndjson, read_record
from streams.home import home_partition
from tests.factories import START, outcome_event, step

PARTITIONS = 3
ASSEMBLERS = {name for name, topic in TOPICS.items() if topic.partitions is None}


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    try:
        jars()
    except KafkaUnavailableError as error:
        print(f"\nSKIPPED, NOT TESTED HERE: {error}", file=sys.stderr)
        pytest.skip(str(error))
    with KafkaServer() as running:
        yield running


@pytest.fixture
async def empty(server: KafkaServer) -> str:
    """Return the address of a Kafka without topics."""
    async with admin(server.bootstrap) as connected:
        names = [name for name in await connected.list_topics() if not name.startswith("__")]
        await connected.delete_topics(names)
        await until(lambda: has_none_of(connected, names))
    return server.bootstrap


@pytest.fixture
async def real(empty: str) -> str:
    """Return the address of a Kafka with the topics of the table."""
    await apply_topics(empty, partitions=PARTITIONS, replicas=1)
    return empty


@pytest.fixture
async def embedded() -> AsyncIterator[str]:
    with EmbeddedBroker() as broker:
        await apply_topics(broker.bootstrap, partitions=PARTITIONS, replicas=1)
        yield broker.bootstrap


def admin(bootstrap: str) -> Any:
    return client._open(lambda: AIOKafkaAdminClient(bootstrap_servers=bootstrap), bootstrap)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await is_so():
            await asyncio.sleep(0.02)


async def has_acknowledged(ledger: Ledger, count: int) -> bool:
    return ledger.acknowledged >= count


async def has_none_of(connected: Any, names: Collection[str]) -> bool:
    return not set(names) & set(await connected.list_topics())


async def has_leaders(connected: Any, name: str) -> bool:
    found = {one["topic"]: one["partitions"] for one in await connected.describe_topics()}
    return bool(found.get(name)) and all(one["leader"] >= 0 for one in found[name])


def run(number: int, length: int = 5) -> RecordedRun:
    name = f"t{number}"
    steps = [recorded(step(name, index, content=f"{number}/{index} ✓")) for index in range(length)]
    return RecordedRun(name, (*steps, recorded(outcome_event(name))))


def outgoing(runs: list[RecordedRun], **settings: Any) -> Iterator[Outgoing]:
    return plan(runs, rng=random.Random(1), **settings)


async def stored(bootstrap: str, topic: TopicName, count: int) -> list[Any]:
    """Read `count` records of a topic, and what more comes within half a second."""
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False, fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        partitions = (await describe(bootstrap))[topic].partitions
        consumer.assign([TopicPartition(topic.value, number) for number in range(partitions)])
        found: list[Any] = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            answer = await consumer.getmany(timeout_ms=500)
            found += [record for fetched in answer.values() for record in fetched]
            if len(found) >= count and not answer:
                return found
        raise AssertionError(f"{len(found)} of {count} records of {topic} came")
    finally:
        await consumer.stop()


def lines(records: list[Any]) -> list[bytes | None]:
    return [line.raw for record in records for line in read_record(record.value, ndjson=is_ndjson(record.headers))]


# ---- publishing ----------------------------------------------------------------------------------------------------


@pytest.mark.kafka
@pytest.mark.parametrize("ndjson", [1, 4])
async def test_every_event_is_on_its_home_partition_and_in_the_ledger(real: str, ndjson: int) -> None:
    runs = [run(number) for number in range(40)]
    ledger = await publish(real, outgoing(runs, concurrency=8), ndjson=ndjson)
    records = await stored(real, TopicName.STEP_EVENTS, 40 * 6 // ndjson)
    assert Counter(lines(records)) == Counter(own.raw for one in runs for own in one.events)
    assert all(record.partition == home_partition(record.key.decode(), PARTITIONS) for record in records)
    assert ledger.acknowledged == 240
    assert ledger.steps.keys() == {(f"t{number}", f"t{number}-{index}") for number in range(40) for index in range(5)}
    assert ledger.outcomes == {(f"t{number}", f"t{number}-outcome") for number in range(40)}


async def test_the_embedded_broker_takes_the_same_without_idempotence(embedded: str) -> None:
    runs = [run(number) for number in range(20)]
    ledger = await publish(embedded, outgoing(runs, concurrency=4), ndjson=3, idempotent=False)
    records = await stored(embedded, TopicName.STEP_EVENTS, 40)
    assert Counter(lines(records)) == Counter(own.raw for one in runs for own in one.events)
    assert all(record.partition == home_partition(record.key.decode(), PARTITIONS) for record in records)
    assert (ledger.acknowledged, len(ledger.steps)) == (120, 100)


async def test_the_embedded_broker_with_idempotence_is_refused_with_the_remedy(embedded: str) -> None:
    with pytest.raises(SettingsError, match="without idempotence"):
        await publish(embedded, outgoing([run(0)]))


@pytest.mark.kafka
async def test_without_shuffling_a_runs_offsets_follow_its_order(real: str) -> None:
    one = run(0, 500)
    await publish(real, outgoing([one]))
    records = await stored(real, TopicName.STEP_EVENTS, 501)
    assert [record.value for record in sorted(records, key=lambda record: record.offset)] == [
        own.raw for own in one.events
    ]


@pytest.mark.kafka
async def test_duplicates_are_sent_and_counted_and_enter_the_ledger_once(real: str) -> None:
    ledger = await publish(real, outgoing([run(0), run(1)], duplicate=1.0, shuffle=True, concurrency=2))
    assert (ledger.acknowledged, len(ledger.steps), len(ledger.outcomes)) == (24, 10, 2)
    assert len(await stored(real, TopicName.STEP_EVENTS, 24)) == 24


@pytest.mark.kafka
async def test_what_is_no_event_is_in_the_ledger_under_its_address(real: str) -> None:
    bad = RecordedRun("t0", (recorded(step("t0", 0)), RecordedEvent(b"no event", None)))
    nameless = RecordedRun(None, (RecordedEvent(b"nobody's", None),))
    ledger = await publish(real, outgoing([bad, nameless]), ndjson=10)
    records = await stored(real, TopicName.STEP_EVENTS, 2)
    addresses = {
        f"{record.topic}/{record.partition}/{record.offset}/{line.number}": line.raw
        for record in records
        for line in read_record(record.value, ndjson=True)
    }
    assert {addresses[one] for one in ledger.unreadable} == {b"no event", b"nobody's"}


@pytest.mark.kafka
async def test_an_event_larger_than_the_topic_takes_is_refused_by_name_and_the_rest_goes_through(real: str) -> None:
    async with admin(real) as connected:
        await connected.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, "step-events", {"max.message.bytes": "50000"})]
        )
    noise = random.Random(1)
    large = step("t0", 1, content="".join(chr(noise.randint(33, 50_000)) for _ in range(30_000)))
    events = [step("t0", 0), large, step("t0", 2), *(step("t1", index, content="x" * 900) for index in range(200))]
    one = RecordedRun("t0", tuple(map(recorded, events)))
    for ndjson in (1, 50):
        ledger = await publish(real, outgoing([one]), ndjson=ndjson)
        assert [(refusal.trajectory_id, refusal.event_id) for refusal in ledger.refused] == [("t0", "t0-1")]
        assert "bytes" in ledger.refused[0].reason
        assert ledger.acknowledged == len(ledger.steps) == 202


@pytest.mark.kafka
async def test_a_record_just_within_the_limit_is_taken(real: str) -> None:
    async with admin(real) as connected:
        await connected.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, "step-events", {"max.message.bytes": "50000"})]
        )
    noise = random.Random(1)
    shell = len(recorded(step("t0", 0, content="")).raw)
    content = "".join(chr(noise.randint(48, 122)) for _ in range(50_000 - 1_200 - shell)).replace("\\", "x")
    ledger = await publish(real, outgoing([RecordedRun("t0", (recorded(step("t0", 0, content=content)),))]))
    assert (ledger.acknowledged, ledger.refused) == (1, [])


@pytest.mark.kafka
async def test_the_rate_is_held_without_drift(real: str) -> None:
    start = time.monotonic()
    ledger = await publish(real, outgoing([run(number) for number in range(50)]), rate=200)
    assert ledger.acknowledged == 300
    assert 1.45 < time.monotonic() - start < 2.5


@pytest.mark.kafka
async def test_progress_is_told_on_the_way_and_at_the_end(real: str) -> None:
    told: list[int] = []
    await publish(real, outgoing([run(number) for number in range(50)]), rate=400, on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 300
    assert 3 <= len(told) <= 20


@pytest.mark.kafka
async def test_whoever_cancels_an_endless_stream_keeps_an_exact_ledger(real: str) -> None:
    ledger = Ledger()
    events = outgoing([run(number) for number in range(10)], loop=True, concurrency=3)
    task = asyncio.create_task(publish(real, events, rate=2000, ledger=ledger))
    await asyncio.sleep(1.0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    records = await stored(real, TopicName.STEP_EVENTS, ledger.acknowledged)
    assert len(records) == ledger.acknowledged > 500
    assert len(ledger.steps) + len(ledger.outcomes) == ledger.acknowledged


@pytest.mark.kafka
async def test_a_killed_broker_that_comes_back_loses_nothing_that_was_acknowledged(
    real: str, server: KafkaServer
) -> None:
    ledger = Ledger()
    events = list(islice(outgoing([run(number, 50) for number in range(200)], concurrency=10), 8000))
    task = asyncio.create_task(publish(real, events, rate=2000, ledger=ledger))
    await until(lambda: has_acknowledged(ledger, 1000))
    await asyncio.to_thread(server.restart)
    await task
    assert ledger.acknowledged == 8000
    found = lines(await stored(real, TopicName.STEP_EVENTS, 8000))
    assert Counter(found) == Counter(event.value for event in events)


@pytest.mark.kafka
async def test_a_broker_that_stays_away_is_an_error_that_names_it(
    real: str, server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ACKNOWLEDGE_S", 1.0)
    ledger = Ledger()
    task = asyncio.create_task(publish(real, outgoing([run(0, 100)]), rate=100, ledger=ledger))
    await until(lambda: has_acknowledged(ledger, 10))
    server.kill()
    try:
        with pytest.raises(BrokerUnavailableError, match=rf"{real}.*stopped taking events"):
            await task
    finally:
        await asyncio.to_thread(server.restart)
    assert ledger.acknowledged < 101


async def test_no_broker_at_all_is_an_error_that_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "START_S", 1.0)
    address = f"127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match=rf"no Kafka broker answers at '{address}'"):
        await publish(address, outgoing([run(0)]))
    assert time.monotonic() - start < 3


async def test_an_address_that_accepts_and_says_nothing_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "START_S", 1.0)
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0)
    address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="no Kafka broker answers"):
        await check_topics(address)
    assert time.monotonic() - start < 3
    silent.close()


@pytest.mark.kafka
async def test_a_missing_topic_is_named_and_not_created(empty: str) -> None:
    with pytest.raises(TopicError, match="'step-events' is missing"):
        await publish(empty, outgoing([run(0)]))
    assert await describe(empty) == {}


async def test_a_rate_that_sends_nothing_is_named() -> None:
    with pytest.raises(SettingsError, match="a rate of 0 events"):
        await publish("nowhere:1", outgoing([run(0)]), rate=0)


# ---- topics --------------------------------------------------------------------------------------------------------


@pytest.mark.kafka
async def test_all_topics_are_created_as_the_table_has_them_and_once(empty: str) -> None:
    changes = await apply_topics(empty, partitions=PARTITIONS, replicas=1)
    assert {(change.topic, change.kind) for change in changes} == {(name, "created") for name in TOPICS}
    found = await describe(empty)
    for name, topic in TOPICS.items():
        assert found[name].partitions == topic.partitions or PARTITIONS
        assert topic.config(1).items() <= found[name].config.items()
    assert await check_topics(empty) == []
    assert await apply_topics(empty, partitions=PARTITIONS, replicas=1) == []


@pytest.mark.kafka
async def test_only_what_differs_is_set_and_what_others_set_beside_it_stays(real: str) -> None:
    changed = {"retention.ms": "5", "min.cleanable.dirty.ratio": "0.9", "segment.bytes": "20000000"}
    async with admin(real) as connected:
        await connected.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "verdicts", changed)])
    problems = await check_topics(real)
    assert {problem.topic for problem in problems} == {TopicName.VERDICTS}
    assert any("retention.ms='5'" in problem.message for problem in problems)
    (change,) = await apply_topics(real, partitions=PARTITIONS, replicas=1)
    assert (change.topic, change.kind) == (TopicName.VERDICTS, "altered")
    assert "retention.ms=2592000000 (was 5)" in change.detail
    config = (await describe(real))[TopicName.VERDICTS].config
    assert TOPICS[TopicName.VERDICTS].config(1).items() <= config.items()
    assert (config["min.cleanable.dirty.ratio"], config["segment.bytes"]) == ("0.9", "20000000")
    assert await check_topics(real) == []


@pytest.mark.kafka
async def test_another_number_of_partitions_is_refused_before_anything_changes(empty: str) -> None:
    async with admin(empty) as connected:
        await connected.create_topics([NewTopic("trajectories", 2, 1)])
        await until(lambda: has_leaders(connected, "trajectories"))
    with pytest.raises(TopicError, match="'trajectories' has 2 partitions, not 3"):
        await apply_topics(empty, partitions=PARTITIONS, replicas=1)
    assert set(await describe(empty)) == {TopicName.TRAJECTORIES}


@pytest.mark.kafka
async def test_what_is_missing_or_has_other_partitions_is_a_problem(real: str) -> None:
    async with admin(real) as connected:
        await connected.delete_topics(["labels", "outcomes"])
        await until(lambda: has_none_of(connected, ["labels", "outcomes"]))
        await connected.create_topics([NewTopic("outcomes", 7, 1, topic_configs=TOPICS[TopicName.OUTCOMES].config(1))])
        await until(lambda: has_leaders(connected, "outcomes"))
    messages = {problem.topic: problem.message for problem in await check_topics(real)}
    assert set(messages) == {TopicName.LABELS, TopicName.OUTCOMES}
    assert "'labels' is missing" in messages[TopicName.LABELS]
    assert "'outcomes' has 7 partitions, not 3" in messages[TopicName.OUTCOMES]


@pytest.mark.kafka
async def test_more_replicas_than_brokers_is_an_error_that_says_so(empty: str) -> None:
    with pytest.raises(TopicError, match=r"can't be created with 3 replicas.*replication factor"):
        await apply_topics(empty, partitions=PARTITIONS, replicas=3)


async def test_the_embedded_broker_gets_the_topics_once_and_says_what_it_cannot_change(embedded: str) -> None:
    assert await check_topics(embedded) == []
    assert await apply_topics(embedded, partitions=PARTITIONS, replicas=1) == []
    with pytest.raises(TopicError, match="partitions"):
        await apply_topics(embedded, partitions=PARTITIONS + 1, replicas=1)


async def test_what_the_embedded_broker_cannot_change_is_reported_as_skipped() -> None:
    with EmbeddedBroker() as broker:
        async with admin(broker.bootstrap) as connected:
            await connected.create_topics([NewTopic("labels", 1, 1, topic_configs={"retention.ms": "5"})])
        changes = await apply_topics(broker.bootstrap, partitions=PARTITIONS, replicas=1)
    assert Counter(change.kind for change in changes) == {"created": len(TOPICS) - 1, "skipped": 1}
    (skipped,) = (change for change in changes if change.kind == "skipped")
    assert skipped.topic == TopicName.LABELS
    assert "can't change" in skipped.detail


# ---- dead letters --------------------------------------------------------------------------------------------------


def letter(offset: int, **fields: Any) -> DeadLetter:
    defaults: dict[str, Any] = {
        "topic": "step-events",
        "partition": 1,
        "offset": offset,
        "line": 2,
        "reason": DeadLetterReason.INVALID,
        "message": "agent: Field required",
        "stage": "assembler",
        "key": b"t1",
        "value": b'{"trajectory_id": "t1"}',
        "at": START,
    }
    return DeadLetter(**defaults | fields)


async def bury(bootstrap: str, *letters: DeadLetter, transactional_id: str | None = None, abort: bool = False) -> None:
    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id)
    await producer.start()
    try:
        if transactional_id:
            await producer.begin_transaction()
        for one in letters:
            await producer.send_and_wait("dead-letters", one.value, key=one.key, headers=to_headers(one))
        if abort:
            await producer.abort_transaction()
        elif transactional_id:
            await producer.commit_transaction()
    finally:
        await producer.stop()


async def dug_up(bootstrap: str) -> list[DeadLetter]:
    return [one async for one in read_dead_letters(bootstrap)]


@pytest.mark.kafka
async def test_dead_letters_come_back_as_they_went_in_without_what_was_aborted(real: str) -> None:
    letters = [letter(offset) for offset in range(30)]
    await bury(real, *letters[:10])
    await bury(real, letter(99), transactional_id="assembler-0", abort=True)
    await bury(real, *letters[10:], transactional_id="assembler-1")
    assert await asyncio.wait_for(dug_up(real), 5) == letters


@pytest.mark.kafka
async def test_no_dead_letters_are_none_and_a_missing_topic_is_an_error(empty: str) -> None:
    with pytest.raises(TopicError, match="'dead-letters' is missing"):
        await dug_up(empty)
    await apply_topics(empty, partitions=PARTITIONS, replicas=1)
    assert await dug_up(empty) == []


@pytest.mark.kafka
async def test_foreign_records_among_dead_letters_are_left_out(real: str) -> None:
    producer: Any = AIOKafkaProducer(bootstrap_servers=real)
    await producer.start()
    await producer.send_and_wait("dead-letters", b"foreign", headers=[("x", b"y")])
    await producer.stop()
    await bury(real, letter(1))
    assert await dug_up(real) == [letter(1)]


async def test_the_embedded_brokers_dead_letters_are_all_read(embedded: str) -> None:
    letters = [letter(offset) for offset in range(20)]
    await bury(embedded, *letters[:19])
    await bury(embedded, letters[19])
    assert await dug_up(embedded) == letters


@pytest.mark.kafka
async def test_a_resent_letter_has_its_own_bytes_and_its_address_in_a_header(real: str) -> None:
    letters = [letter(1), letter(2, key=None, value=b"?"), letter(3, key=b"t2", value=None)]
    letters.append(letter(4, key=None, value=None, topic="otlp-spans"))
    sent: list[DeadLetter] = []
    await resend(real, *letters, on_sent=sent.append)
    assert sent == letters
    records = await stored(real, TopicName.STEP_EVENTS, 3)
    assert {(record.key, record.value, record.headers) for record in records} == {
        (one.key, one.value, ((REDRIVEN, one.address.encode()),)) for one in letters[:3]
    }
    (empty_one,) = await stored(real, TopicName.OTLP_SPANS, 1)
    assert empty_one.value == b""


@pytest.mark.kafka
async def test_a_letter_of_a_topic_that_is_not_ours_is_an_error_before_anything_is_sent(real: str) -> None:
    sent: list[DeadLetter] = []
    with pytest.raises(TopicError, match="'elsewhere' is missing"):
        await resend(real, letter(1), letter(2, topic="elsewhere"), on_sent=sent.append)
    assert sent == []
