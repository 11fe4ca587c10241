"""The sink between a real Kafka and a real store."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from ops.client import apply_topics
from ops.embedded.broker import EmbeddedBroker
from ops.query import Count, counts, dead_letter, dead_letters, step_ids
from schemas import TopicName
from schemas.dead_letter import to_headers
from schemas.errors import BrokerUnavailableError, StateError, StoreUnavailableError, TopicError
from streams.drain import drain
from streams.sink import Store
from streams.sink_settings import SinkSettings
from tests.conftest import Broker
from tests.factories import outcome_event, step, trajectory, verdict
from tests.stores import own_store, rows
from tests.streams.sinks import (
    Sent,
    count,
    ids,
    lag,
    read_topic,
    runs,
    send,
    sent,
    settings_for,
    sinking,
    until,
)
from tests.streams.test_rows import label, letter, report

pytestmark = pytest.mark.kafka


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


def of_every_topic(prefix: str) -> list[Sent]:
    of = runs(prefix, 1)[0]
    key = of.trajectory_id.encode()
    said = verdict(of)
    return [
        sent(of),
        (TopicName.OUTCOMES, key, outcome_event(of.trajectory_id).model_dump_json().encode()),
        (TopicName.VERDICTS, key, said.model_dump_json().encode()),
        (TopicName.VERDICTS, key, said.model_copy(update={"tracer_version": "2"}).model_dump_json().encode()),
        (TopicName.LABELS, key, label().model_dump_json().encode()),
        (TopicName.PIPELINE_EVENTS, b"k", report().model_dump_json().encode()),
        (TopicName.DEAD_LETTERS, None, b"no letter"),
    ]


async def test_records_of_every_topic_arrive_once_and_their_offsets_are_committed(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store)
    records = of_every_topic("every")
    await send(kafka.bootstrap, [*records, *records])
    async with sinking(settings) as task:
        await until(lambda: count(store, "pipeline_events") == 1 and count(store, "labels") == 1, "stored", task)
    once = Count(rows=1, stored=1, duplicates=0)
    found = {view: counted._replace(stored=1) for view, counted in counts(store.client).items()}
    assert found == {
        "trajectories": once,
        "steps": once._replace(rows=4),
        "outcomes": once,
        "verdicts": once,
        "verdicts_all": once._replace(rows=2),
        "labels": once,
        "dead_letters": once._replace(rows=2),
        "pipeline_events": once,
    }
    assert rows(store, "SELECT tracer_version FROM verdicts") == [("1",)]
    assert await lag(settings) == 0


async def test_what_a_transaction_aborted_is_never_stored_and_its_end_is_no_lag(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=uuid4().hex)
    await producer.start()
    kept, aborted = runs("kept", 20), runs("aborted", 20)
    async with sinking(settings) as task:
        for some, keep in ((kept[:10], True), (aborted, False), (kept[10:], True)):
            await producer.begin_transaction()
            await asyncio.gather(*[await producer.send(topic, value, key=key) for topic, key, value in map(sent, some)])
            await (producer.commit_transaction() if keep else producer.abort_transaction())
        await producer.stop()
        await until(lambda: count(store, "trajectories") == 20, "stored", task)
    assert step_ids(store.client) == ids(kept)
    assert await lag(settings) == 0


async def test_what_cannot_be_read_is_a_dead_letter_in_the_topic_and_in_the_store(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store)
    before = len(await read_topic(kafka.bootstrap, TopicName.DEAD_LETTERS))
    bad: list[Sent] = [
        (TopicName.TRAJECTORIES, b"k\xff", b"\xff\xfe not utf-8"),
        (TopicName.OUTCOMES, None, b'{"private": 1}'),
        (TopicName.VERDICTS, b"k", None),
        (TopicName.LABELS, b"k", b""),
        (TopicName.PIPELINE_EVENTS, b"k", b"[]"),
        (TopicName.DEAD_LETTERS, b"k\xfe", b"\x00\x80"),
    ]
    good = runs("among", 30)
    await send(kafka.bootstrap, [*map(sent, good[:15]), *bad, *map(sent, good[15:])])
    async with sinking(settings) as task:
        await until(lambda: count(store, "dead_letters") == 6 and count(store, "trajectories") == 30, "stored", task)
        await asyncio.sleep(0.5)
    assert step_ids(store.client) == ids(good)
    letters = await read_topic(kafka.bootstrap, TopicName.DEAD_LETTERS)
    assert len(letters) - before == 6  # the one that was sent, and five that the sink wrote
    listed = dead_letters(store.client)
    stored = {one.topic: dead_letter(store.client, one.topic, one.partition, one.offset) for one in listed}
    assert {topic: letter and (letter.key, letter.value, letter.reason.value) for topic, letter in stored.items()} == {
        "trajectories": (b"k\xff", b"\xff\xfe not utf-8", "invalid"),
        "outcomes": (None, b'{"private": 1}', "invalid"),
        "verdicts": (b"k", None, "empty"),
        "labels": (b"k", b"", "empty"),
        "pipeline-events": (b"k", b"[]", "invalid"),
        "dead-letters": (b"k\xfe", b"\x00\x80", "unprocessable"),
    }
    assert await lag(settings) == 0


async def test_a_row_that_the_store_refuses_is_a_dead_letter_and_the_rest_is_stored(
    kafka: Broker, store: Store
) -> None:
    store.client.command("ALTER TABLE steps_raw MODIFY COLUMN agent_role Nullable(Enum8('buyer' = 1))")
    settings = await settings_for(kafka.bootstrap, store)
    good = runs("good", 20)
    odd = trajectory([step("odd", index, agent_role="thief" if index else "buyer") for index in range(3)])
    await send(kafka.bootstrap, [*map(sent, good[:10]), sent(odd), *map(sent, good[10:])])
    async with sinking(settings) as task:
        await until(lambda: count(store, "dead_letters") == 1, "the dead letter", task)
    assert step_ids(store.client) == ids(good) | {("odd", "odd-0")}
    (listed,) = dead_letters(store.client)
    letter = dead_letter(store.client, listed.topic, listed.partition, listed.offset)
    assert letter is not None
    assert (letter.topic, letter.reason.value, letter.value) == ("trajectories", "unstorable", sent(odd)[2])
    assert await lag(settings) == 0


async def test_a_dead_letter_that_the_store_refuses_is_a_row_without_its_bytes_and_no_new_letter(
    kafka: Broker, store: Store
) -> None:
    store.client.command("ALTER TABLE dead_letters_raw MODIFY COLUMN stage Enum8('sink' = 1)")
    settings = await settings_for(kafka.bootstrap, store)
    before = len(await read_topic(kafka.bootstrap, TopicName.DEAD_LETTERS))
    of = letter(stage="tracer")
    await send(kafka.bootstrap, [(TopicName.DEAD_LETTERS, of.key, of.value)] * 2, headers=to_headers(of))
    async with sinking(settings) as task:
        await until(lambda: count(store, "dead_letters") == 2, "both rows", task)
        await asyncio.sleep(0.5)
    found = rows(store, "SELECT topic, reason, stage, value FROM dead_letters")
    assert found == [("dead-letters", "unstorable", "sink", None)] * 2
    assert len(await read_topic(kafka.bootstrap, TopicName.DEAD_LETTERS)) - before == 2
    assert await lag(settings) == 0


async def test_a_record_of_twenty_megabytes_arrives(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store)
    large = trajectory([step("large", index, content=f"{index}" * 5_000_000) for index in range(4)])
    small = runs("beside", 50)
    await send(kafka.bootstrap, [*map(sent, small[:25]), sent(large), *map(sent, small[25:])])
    async with sinking(settings) as task:
        await until(lambda: count(store, "trajectories") == 51, "stored", task)
    assert rows(store, "SELECT sum(length(content)) FROM steps WHERE trajectory_id = 'large'") == [(20_000_000,)]


async def test_sinks_that_come_and_go_store_everything_once(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store, sink_batch_rows=200)
    all_of = runs("shared", 1500, steps=2)
    half = len(all_of) // 2
    async with sinking(settings):
        await send(kafka.bootstrap, map(sent, all_of[:half]))
        async with sinking(settings) as second:
            await send(kafka.bootstrap, map(sent, all_of[half:]))
            await until(lambda: count(store, "trajectories") > half, "half", second)
        async with sinking(settings) as third:
            await until(lambda: count(store, "trajectories") == len(all_of), "all", third)
    assert step_ids(store.client) == ids(all_of)
    assert {counted.duplicates for counted in counts(store.client).values()} == {0}
    assert await lag(settings) == 0


async def test_records_that_were_deleted_before_they_were_read_are_reported(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store)
    labels = [label().model_copy(update={"label_id": f"l{number}"}) for number in range(3)]
    await send(kafka.bootstrap, [(TopicName.LABELS, b"k", one.model_dump_json().encode()) for one in labels])
    last = (await read_topic(kafka.bootstrap, TopicName.LABELS))[-1].offset
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(TopicName.LABELS, 0): RecordsToDelete(before_offset=last)})
    await admin.close()
    async with sinking(settings) as task:
        await until(lambda: count(store, "pipeline_events") == 1 and count(store, "labels") == 1, "the report", task)
    assert rows(store, "SELECT kind, topic, partition, count FROM pipeline_events") == [
        ("offsets_lost", "labels", 0, 2)
    ]
    assert rows(store, "SELECT label_id FROM labels") == [("l2",)]


async def test_a_stop_writes_what_was_read_and_commits_it(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store, sink_flush_ms=600_000)
    all_of = runs("last", 40)
    await send(kafka.bootstrap, map(sent, all_of))
    async with sinking(settings) as task:
        await asyncio.sleep(2)
        assert count(store, "trajectories") == 0
        assert not task.done()
    assert step_ids(store.client) == ids(all_of)
    assert await lag(settings) == 0


def nowhere(**fields: Any) -> SinkSettings:
    defaults: dict[str, Any] = {
        "bootstrap": "127.0.0.1:9",
        "clickhouse_url": "http://127.0.0.1:9/x",
        "sink_start_s": 0.5,
    }
    return SinkSettings(**defaults | fields)


async def test_without_a_store_it_says_so_at_the_start() -> None:
    with pytest.raises(StoreUnavailableError, match=r"no ClickHouse answers at '127.0.0.1:9'"):
        await drain(nowhere(), asyncio.Event())


async def test_on_a_store_that_is_not_migrated_it_says_what_to_run(store_url: str) -> None:
    with pytest.raises(StateError, match="run `agentracer migrate`"):
        await drain(nowhere(clickhouse_url=f"{store_url}/never_made"), asyncio.Event())


async def test_without_a_broker_it_says_so_at_the_start(store: Store) -> None:
    url = f"http://{store.address}/{store.database}"
    with pytest.raises(BrokerUnavailableError, match=r"no broker answers at '127.0.0.1:9'"):
        await drain(nowhere(clickhouse_url=url), asyncio.Event())


async def test_the_same_sink_works_on_the_embedded_broker_once_it_has_topics(store: Store) -> None:
    url = f"http://{store.address}/{store.database}"
    with EmbeddedBroker() as broker:
        settings = SinkSettings(
            bootstrap=broker.bootstrap, clickhouse_url=url, transactions=False, sink_flush_ms=100, sink_start_s=5
        )
        with pytest.raises(TopicError, match="create them with `agentracer topics apply`"):
            await drain(settings, asyncio.Event())
        await apply_topics(broker.bootstrap, partitions=2, replicas=1)
        all_of = runs("embedded", 100)
        bad = (TopicName.LABELS, b"k", b"\xff")
        await send(broker.bootstrap, [*map(sent, all_of), bad], idempotent=False)
        async with sinking(settings) as task:
            await until(
                lambda: count(store, "trajectories") == 100 and count(store, "dead_letters") == 1, "stored", task
            )
    assert step_ids(store.client) == ids(all_of)
