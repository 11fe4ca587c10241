"""`agentracer doctor` on a real Kafka and a store broken on purpose: each thing alone, then several at once."""

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ops.doctor import CLOCK_S, examine
from ops.embedded.broker import EmbeddedBroker
from ops.embedded.store import EmbeddedStore
from ops.kafka.server import KafkaServer
from schemas import TOPICS, TopicName
from streams.sink import Store
from streams.state import SOURCE_KEY, Source, source_record
from tests.conftest import Broker
from tests.ops.processes import invoke, json_of
from tests.stores import own_store

NOBODY = "127.0.0.1:1"
NOWHERE = "http://127.0.0.1:1/agentracer"


def wrong(broker: str, clickhouse: str, ahead_s: float = 0.0) -> dict[str, str]:
    """Return what is wrong, by name, on a machine whose clock is ahead."""
    findings = examine(broker, clickhouse, lambda: time.time() + ahead_s)
    assert {"settings file", "broker", "store"} <= {one.what for one in findings}, "everything is looked at"
    return {one.what: one.message for one in findings if not one.is_well}


@pytest.fixture(scope="module")
def broker(kafka_alone: Broker) -> str:
    json_of("topics", "apply", "--broker", kafka_alone.bootstrap)
    return kafka_alone.bootstrap


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def clickhouse(store: Store, store_url: str) -> str:
    return f"{store_url}/{store.database}"


def administer(bootstrap: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Do something that the product would not do to a broker."""

    async def run() -> Any:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            return await work(admin)
        finally:
            await admin.close()

    return asyncio.run(run())


def configure(bootstrap: str, topic: TopicName, **settings: str) -> None:
    """Set a topic's settings as somebody else might."""
    changed = {name.replace("_", "."): value for name, value in settings.items()}
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.value, TOPICS[topic].config() | changed)
    administer(bootstrap, lambda admin: admin.alter_configs([resource]))


def names(bootstrap: str) -> set[str]:
    found: list[str] = administer(bootstrap, lambda admin: admin.list_topics())
    return set(found)


def delete(bootstrap: str, topic: str) -> None:
    administer(bootstrap, lambda admin: admin.delete_topics([topic]))
    while topic in names(bootstrap):
        time.sleep(0.05)


def create(bootstrap: str, topic: TopicName, partitions: int) -> None:
    new = NewTopic(topic.value, partitions, 1, topic_configs=TOPICS[topic].config())
    administer(bootstrap, lambda admin: admin.create_topics([new]))
    while topic.value not in names(bootstrap):
        time.sleep(0.05)


def produce(bootstrap: str, topic: str, key: bytes | None, value: bytes | None, partition: int = 0) -> None:
    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait(topic, value, key=key, partition=partition)

    asyncio.run(run())


# ---- the broker ----


@pytest.mark.kafka
def test_a_broker_as_it_should_be_is_well_and_nothing_of_the_doctors_stays(broker: str, clickhouse: str) -> None:
    before = names(broker)
    assert wrong(broker, clickhouse) == {}
    assert names(broker) - {"__transaction_state"} == before - {"__transaction_state"}


def test_no_broker_is_found_and_the_store_is_looked_at_all_the_same(clickhouse: str) -> None:
    found = wrong(NOBODY, f"{clickhouse}_not_there")
    assert list(found) == ["broker", "tables"]
    assert NOBODY in found["broker"]


@pytest.mark.parametrize("setting", [{"AGENTRACER_TRANSACTIONS": "true"}, {}])
def test_a_broker_without_transactions_is_found_unless_it_is_the_embedded_one_of_this_machine(
    setting: dict[str, str], clickhouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    with EmbeddedBroker() as embedded:
        json_of("topics", "apply", "--broker", embedded.bootstrap)
        found = wrong(embedded.bootstrap, clickhouse)
    assert list(found) == (["transactions"] if setting else [])
    assert all("Apache Kafka" in message for message in found.values())


@pytest.mark.kafka
def test_transactions_that_never_end_are_found(clickhouse: str, kafka_alone: Broker) -> None:
    """A single broker that is to keep three replicas of its transactions' log, as it is by default, can't begin one."""
    with KafkaServer(overrides={"transaction.state.log.replication.factor": "3"}) as server:
        json_of("topics", "apply", "--broker", server.bootstrap)
        found = wrong(server.bootstrap, clickhouse)
        assert names(server.bootstrap) == {str(name) for name in TopicName}, "nothing of the doctor's stays"
    assert list(found) == ["transactions"]
    assert "transaction.state.log.replication.factor" in found["transactions"]


@pytest.mark.kafka
@pytest.mark.parametrize("ahead_s", [-CLOCK_S - 60, CLOCK_S + 60])
def test_a_clock_that_is_off_is_found_at_the_broker_and_at_the_store(
    ahead_s: float, broker: str, clickhouse: str
) -> None:
    found = wrong(broker, clickhouse, ahead_s)
    assert list(found) == ["the clock of broker 1", "the store's clock"]
    for message in found.values():
        assert float(message.split()[2]) == pytest.approx(-ahead_s, abs=30)


# ---- the topics ----


@pytest.mark.kafka
def test_a_topic_that_is_missing_is_found(broker: str, clickhouse: str) -> None:
    delete(broker, TopicName.OUTCOMES)
    found = wrong(broker, clickhouse)
    json_of("topics", "apply", "--broker", broker)
    assert list(found) == ["topic outcomes"]
    assert "is missing; create it with `agentracer topics apply`" in found["topic outcomes"]


SETTINGS = [
    (TopicName.ASSEMBLER_STATE, "cleanup_policy", "delete"),
    (TopicName.TRAJECTORIES, "cleanup_policy", "compact"),
    (TopicName.STEP_EVENTS, "max_message_bytes", "1000"),
    (TopicName.STEP_EVENTS, "message_timestamp_type", "CreateTime"),
    (TopicName.VERDICTS, "retention_ms", "1000"),
]


@pytest.mark.kafka
@pytest.mark.parametrize(("topic", "setting", "value"), SETTINGS, ids=[f"{one[0]}-{one[1]}" for one in SETTINGS])
def test_a_setting_of_a_topic_that_is_not_the_tables_is_found_and_mended(
    topic: TopicName, setting: str, value: str, broker: str, clickhouse: str
) -> None:
    configure(broker, topic, **{setting: value})
    found = wrong(broker, clickhouse)
    changed = json_of("topics", "apply", "--broker", broker)
    assert list(found) == [f"topic {topic}"]
    assert f"{setting.replace('_', '.')}='{value}'" in found[f"topic {topic}"]
    assert [change["topic"] for change in changed] == [topic]
    assert wrong(broker, clickhouse) == {}


@pytest.mark.kafka
@pytest.mark.parametrize(("topic", "partitions"), [(TopicName.VERDICTS, 2), (TopicName.FAILED_TRAJECTORIES, 6)])
def test_fewer_verdicts_or_more_failed_trajectories_than_partitions_of_step_events_are_found(
    topic: TopicName, partitions: int, broker: str, clickhouse: str
) -> None:
    delete(broker, topic)
    create(broker, topic, partitions)
    found = wrong(broker, clickhouse)
    delete(broker, topic)
    json_of("topics", "apply", "--broker", broker)
    assert list(found) == [f"topic {topic}"]
    assert f"has {partitions} partitions, not 4" in found[f"topic {topic}"]


# ---- the state ----


def state_of(offset: int, partitions: int) -> tuple[bytes, bytes | None]:
    return source_record(Source(offset=offset, partitions=partitions, time_ms=0, skipped_ms=0))


@pytest.mark.kafka
def test_a_state_that_was_written_for_another_number_of_partitions_is_found(broker: str, clickhouse: str) -> None:
    produce(broker, TopicName.ASSEMBLER_STATE, *state_of(0, 4), partition=0)
    produce(broker, TopicName.ASSEMBLER_STATE, *state_of(0, 8), partition=2)
    found = wrong(broker, clickhouse)
    for partition in (0, 2):
        produce(broker, TopicName.ASSEMBLER_STATE, SOURCE_KEY, None, partition)
    assert list(found) == ["state"]
    assert "step-events has 4 partitions, the state was written for 8" in found["state"]
    assert wrong(broker, clickhouse) == {}


@pytest.mark.kafka
def test_step_events_that_were_deleted_before_they_were_read_are_found(broker: str, clickhouse: str) -> None:
    for _ in range(5):
        produce(broker, TopicName.STEP_EVENTS, b"x", b"{}", partition=3)
    produce(broker, TopicName.ASSEMBLER_STATE, *state_of(2, 4), partition=3)
    assert wrong(broker, clickhouse) == {}
    place = TopicPartition(TopicName.STEP_EVENTS.value, 3)
    administer(broker, lambda admin: admin.delete_records({place: RecordsToDelete(before_offset=4)}))
    found = wrong(broker, clickhouse)
    produce(broker, TopicName.ASSEMBLER_STATE, SOURCE_KEY, None, partition=3)
    assert list(found) == ["state"]
    assert "2 records of step-events/3 were deleted" in found["state"]


# ---- the store ----


@pytest.fixture(scope="module")
def alone() -> Iterator[str]:
    """A broker that starts at once, where what is looked at is the store."""
    with EmbeddedBroker() as embedded:
        json_of("topics", "apply", "--broker", embedded.bootstrap)
        yield embedded.bootstrap


def test_a_wrong_password_is_found_and_not_told(alone: str) -> None:
    with EmbeddedStore(password="open sesame") as guarded:
        url = guarded.url.replace("http://", "http://default:open%20says%20me@")
        found = wrong(alone, f"{url}/agentracer")
    assert list(found) == ["store"]
    assert "refuses the user; check AGENTRACER_CLICKHOUSE_URL" in found["store"]
    assert "says" not in found["store"]


def test_a_database_that_is_not_there_is_found(alone: str, store_url: str) -> None:
    found = wrong(alone, f"{store_url}/nobody_made_it")
    assert list(found) == ["tables"]
    assert "'nobody_made_it' lacks migration '0001" in found["tables"]


def test_a_store_of_a_newer_version_is_found(alone: str, store_url: str) -> None:
    with own_store(store_url) as newer:
        newer.client.command("INSERT INTO schema_migrations (number, name, sha256) VALUES (9001, '9001_later', 'x')")
        found = wrong(alone, f"{store_url}/{newer.database}")
    assert list(found) == ["tables"]
    assert "'9001_later', which this version does not know" in found["tables"]


def test_a_store_that_was_migrated_with_another_file_is_found(alone: str, store_url: str) -> None:
    with own_store(store_url) as other:
        other.client.command("INSERT INTO schema_migrations (number, name, sha256) VALUES (1, '0001_other', 'x')")
        found = wrong(alone, f"{store_url}/{other.database}")
    assert list(found) == ["tables"]
    assert "is not the file" in found["tables"]


@contextmanager
def read_only(store_url: str) -> Iterator[str]:
    """Give the store as a user sees it whose profile is read-only: every statement is run with `readonly=2`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sign = "&" if "?" in self.path else "?"
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            asked = urllib.request.Request(f"{store_url}{self.path}{sign}readonly=2", body or None, headers)
            asked.method = self.command
            try:
                with urllib.request.urlopen(asked) as answer:
                    self._answer(answer)
            except urllib.error.HTTPError as error:
                self._answer(error)

        do_POST = do_GET  # noqa: N815 - its name

        def _answer(self, answer: Any) -> None:
            said = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower().startswith(("x-clickhouse", "content-type", "content-encoding")):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_user_who_may_only_read_is_found(alone: str, store: Store, store_url: str) -> None:
    with read_only(store_url) as url:
        found = wrong(alone, f"{url}/{store.database}")
    assert list(found) == ["store's rights"]
    assert "its profile is read-only; grant it, or name another user" in found["store's rights"]


# ---- the settings ----


def test_a_variable_that_nobody_reads_is_found_with_the_one_that_was_meant(
    alone: str, clickhouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTRACER_CHEKPOINT_MS", "5")
    monkeypatch.setenv("AGENTRACER_LIMITS__IDEL_MS", "5")
    found = wrong(alone, clickhouse)
    assert list(found) == ["variable AGENTRACER_CHEKPOINT_MS", "variable AGENTRACER_LIMITS__IDEL_MS", "StreamsSettings"]
    assert "did you mean 'AGENTRACER_CHECKPOINT_MS'?" in found["variable AGENTRACER_CHEKPOINT_MS"]
    assert "did you mean 'AGENTRACER_LIMITS__IDLE_MS'?" in found["variable AGENTRACER_LIMITS__IDEL_MS"]


FILES = [
    ("bootstrap = ", "is not TOML"),
    ("botstrap = 'x'", "did you mean 'bootstrap'?"),
    ("checkpoint_ms = 'often'", "'checkpoint_ms' in the settings file"),
    ("[limits]\nidle_ms = 0", "'limits.idle_ms' in the settings file"),
    (None, "can't be read"),
]


@pytest.mark.parametrize(("text", "message"), FILES, ids=["broken", "unknown key", "wrong type", "wrong value", "none"])
def test_a_settings_file_that_is_wrong_is_found_and_only_it(
    text: str | None, message: str, alone: str, clickhouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "agentracer.toml"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("AGENTRACER_CONFIG", str(file))
    found = wrong(alone, clickhouse)
    assert list(found) == ["settings file"]
    assert message in found["settings file"]
    assert str(file) in found["settings file"]


def test_everything_that_is_wrong_with_a_settings_file_is_named(
    alone: str, clickhouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "agentracer.toml"
    file.write_text("botstrap = 'x'\ntracer_concurrency = 0\n[limits]\nidel_ms = 1\nidle_ms = 0\n")
    monkeypatch.setenv("AGENTRACER_CONFIG", str(file))
    found = wrong(alone, clickhouse)["settings file"]
    for key in ("botstrap", "tracer_concurrency", "limits.idel_ms", "limits.idle_ms"):
        assert f"'{key}' in the settings file" in found


def test_the_doctor_looks_where_the_settings_file_says(alone: str, clickhouse: str, tmp_path: Path) -> None:
    file = tmp_path / "agentracer.toml"
    file.write_text(f"bootstrap = '{alone}'\nclickhouse_url = '{clickhouse}'\n")
    done = invoke("doctor", AGENTRACER_CONFIG=str(file))
    assert done.exit_code == 0, done.stdout
    file.write_text(f"bootstrap = '{NOBODY}'\nclickhouse_url = '{clickhouse}'\n")
    assert NOBODY in invoke("doctor", AGENTRACER_CONFIG=str(file)).stdout


# ---- all at once ----


@pytest.mark.kafka
def test_things_that_are_wrong_at_once_are_all_named(
    broker: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[default]\nsample_successes = 7\n")
    monkeypatch.setenv("AGENTRACER_ROUTING_RULES", str(rules))
    monkeypatch.setenv("AGENTRACER_TRACER", "oracle")
    monkeypatch.setenv("AGENTRACER_TYPO", "1")
    monkeypatch.setenv("AGENTRACER_SINK_BATCH_ROWS", "0")
    monkeypatch.setenv("AGENTRACER_CONFIG", str(tmp_path / "none.toml"))
    configure(broker, TopicName.STEP_EVENTS, cleanup_policy="compact")
    delete(broker, TopicName.LABELS)
    found = wrong(broker, f"{store_url}/x{uuid4().hex}", ahead_s=60)
    monkeypatch.delenv("AGENTRACER_CONFIG")
    json_of("topics", "apply", "--broker", broker)
    assert set(found) == {
        "settings file",
        "variable AGENTRACER_TYPO",
        "SinkSettings",
        "routing rules",
        "tracer",
        "the clock of broker 1",
        "topic step-events",
        "topic labels",
        "the store's clock",
        "tables",
    }


def test_with_nothing_there_everything_is_named_as_json_with_exit_code_1() -> None:
    done = invoke("doctor", "--json", "--broker", NOBODY, "--clickhouse", NOWHERE, AGENTRACER_TRACER="oracle")
    assert done.exit_code == 1
    for what in ('"broker"', '"store"', '"tracer"'):
        assert f'"what": {what}, "is_well": false' in " ".join(done.stdout.split()).replace("[", "").replace("]", "")
