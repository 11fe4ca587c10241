"""What a worker may not go on from ends its process with code 5 and one sentence, and nothing is written."""

import asyncio
import json
import struct
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from ops.roles import Role
from schemas import TopicName
from streams.sink import Store
from streams.state import SOURCE_KEY, Source, marker_key, segment_key
from tests.conftest import Broker
from tests.factories import outcome, raw, step
from tests.stores import own_store
from tests.streams.real import Process, Sent, read_topic, remake_source, remake_topics, send, trajectories

pytestmark = pytest.mark.kafka


@pytest.fixture
def broker(kafka_alone: Broker) -> str:
    asyncio.run(remake_topics(kafka_alone.bootstrap, 1))
    return kafka_alone.bootstrap


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


def _run(trajectory_id: str) -> list[bytes]:
    return [
        raw(step(trajectory_id, index, final=index == 2, outcome=outcome() if index == 2 else None))
        for index in range(3)
    ]


def _source(**fields: object) -> bytes:
    return json.dumps(Source(offset=0, partitions=1, time_ms=0, skipped_ms=0).model_dump() | fields).encode()


_NEWER = "has version 3, this worker reads 2; upgrade it"
_FOREIGN = "the assembler's state can't be read"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (SOURCE_KEY, _source(version=3), _NEWER),
        (SOURCE_KEY, _source(version=3, mood="good"), _NEWER),
        (SOURCE_KEY, _source(mood="good"), _FOREIGN),
        (SOURCE_KEY, b"\xff", _FOREIGN),
        (segment_key("t", 0, 0), struct.pack(">Bq", 3, 0), _NEWER),
        (segment_key("t", 0, 0), b"\x01", _FOREIGN),
        (segment_key("t", 0, 0)[:3], struct.pack(">Bq", 1, 0), _FOREIGN),
        (marker_key("t"), b"\x03" + bytes(80), _NEWER),
        (marker_key("t"), b"\x01", _FOREIGN),
        (marker_key("t"), b"", _FOREIGN),
    ],
    ids=lambda one: repr(one)[:40],
)
def test_a_state_that_this_version_did_not_write(broker: str, key: bytes, value: bytes, words: str) -> None:
    asyncio.run(send(broker, Sent(value, key=key), topic=TopicName.ASSEMBLER_STATE))
    asyncio.run(send(broker, *_run("never")))
    said = Process(Role.STREAMS, broker).ends(5)
    assert words in said
    assert trajectories(broker) == []


def test_another_number_of_partitions(broker: str) -> None:
    asyncio.run(send(broker, *_run("first")))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
    asyncio.run(remake_source(broker, 3))
    said = Process(Role.STREAMS, broker).ends(5)
    assert "step-events has 3 partitions, the state was written for 1; trajectories would change homes" in said


def test_offsets_below_the_log_s_start_unless_told_to_go_on(broker: str) -> None:
    asyncio.run(send(broker, *_run("first")))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
    asyncio.run(send(broker, *_run("deleted"), *_run("after")))
    asyncio.run(_delete(broker, before=6))
    for _ in range(2):
        said = Process(Role.STREAMS, broker).ends(5)
        assert "3 records of step-events/0 were deleted before they were read (the log starts at 6); set" in said
        assert len(trajectories(broker)) == 1
    with Process(Role.STREAMS, broker, AGENTRACER_ACCEPT_LOST_OFFSETS="true") as worker:
        worker.until(lambda: len(trajectories(broker)) == 2)
    assert [one.trajectory_id for one in trajectories(broker)] == ["first", "after"]
    (report,) = asyncio.run(read_topic(broker, TopicName.PIPELINE_EVENTS))
    assert json.loads(report.value)["count"] == 3


async def _delete(broker: str, before: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.delete_records({TopicPartition(TopicName.STEP_EVENTS, 0): RecordsToDelete(before_offset=before)})
    await admin.close()


def _sink(broker: str, store: Store, url: str) -> Process:
    return Process(Role.SINK, broker, AGENTRACER_CLICKHOUSE_URL=f"{url}/{store.database}")


def test_a_store_with_newer_migrations_than_this_version_has(broker: str, store: Store, store_url: str) -> None:
    store.client.command("INSERT INTO schema_migrations (number, name, sha256) VALUES (9001, '9001_later', 'x')")
    said = _sink(broker, store, store_url).ends(5)
    assert "has migration '9001_later', which this version does not know: it is a store of another version" in said


def test_a_store_with_older_migrations_than_this_version_has(broker: str, store: Store, store_url: str) -> None:
    store.client.command("ALTER TABLE schema_migrations DELETE WHERE number > 1 SETTINGS mutations_sync = 1")
    said = _sink(broker, store, store_url).ends(5)
    assert f"the store's database {store.database!r} lacks migration '0002" in said
    assert "run `agentracer migrate`" in said


def test_a_store_that_another_file_migrated(broker: str, store: Store, store_url: str) -> None:
    store.client.command("INSERT INTO schema_migrations (number, name, sha256) VALUES (1, 'other', 'x')")
    said = _sink(broker, store, store_url).ends(5)
    assert "is not the file that the store's database" in said
