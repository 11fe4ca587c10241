"""`agentracer doctor`: each thing broken on purpose, one by one, is found, named, and hides no other."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ops.doctor import CLOCK_S, Finding, examine, report_table
from ops.embedded.broker import EmbeddedBroker
from ops.wrong_setting import is_of_settings, wrong_setting
from schemas import TOPICS, TopicName
from schemas.errors import SettingsError
from streams.settings import StreamsSettings
from streams.sink import Store
from tests.conftest import Broker
from tests.factories import step
from tests.ops.processes import Up, agentracer, assert_one_sentence, invoke, json_of
from tests.ops.test_show import shown
from tests.stores import own_store
from tracer.settings import TracerSettings


def wrong(broker: str, clickhouse: str) -> dict[str, str]:
    """Return what is wrong, and check that everything else was looked at all the same."""
    findings = examine(broker, clickhouse, time.time)
    names = {finding.what for finding in findings}
    assert {"StreamsSettings", "TracerSettings", "SinkSettings", "broker", "store"} <= names
    return {finding.what: finding.message for finding in findings if not finding.is_well}


@pytest.fixture(scope="module")
def alone() -> Iterator[str]:
    """A broker with topics of these tests' own, whose settings may be looked at without harm."""
    with EmbeddedBroker() as broker:
        assert invoke("topics", "apply", "--broker", broker.bootstrap).exit_code == 0
        yield broker.bootstrap


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def clickhouse(store: Store, store_url: str) -> str:
    return f"{store_url}/{store.database}"


def test_with_everything_as_it_should_be_nothing_is_wrong(alone: str, clickhouse: str) -> None:
    assert wrong(alone, clickhouse) == {}


# ---- settings ----

SETTINGS = [
    ("AGENTRACER_LIMITS__IDLE_MS", "soon", "StreamsSettings"),
    ("AGENTRACER_LIMITS", "{", "StreamsSettings"),
    ("AGENTRACER_TRACER_CONCURRENCY", "0", "TracerSettings"),
    ("AGENTRACER_TRACER_UNCOUNTED", "user", "TracerSettings"),
    ("AGENTRACER_SINK_BATCH_ROWS", "-1", "SinkSettings"),
]


@pytest.mark.parametrize(("name", "value", "what"), SETTINGS, ids=[name for name, _, _ in SETTINGS])
def test_a_wrong_setting_is_found_and_only_it(
    name: str, value: str, what: str, alone: str, clickhouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    found = wrong(alone, clickhouse)
    assert list(found) == [what]
    assert name in found[what]
    assert "mend it" in found[what]
    assert "\n" not in found[what]


def test_a_setting_of_several_roles_is_found_for_each(
    alone: str, clickhouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTRACER_SESSION_TIMEOUT_MS", "12")
    assert list(wrong(alone, clickhouse)) == ["StreamsSettings", "TracerSettings", "SinkSettings"]


def test_rules_that_can_not_be_used_are_found(
    alone: str, clickhouse: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[default]\nscore_below = 'much'\n[systems.[/red]]\n")
    monkeypatch.setenv("AGENTRACER_ROUTING_RULES", str(rules))
    found = wrong(alone, clickhouse)
    assert list(found) == ["routing rules"]
    assert "rules.toml" in found["routing rules"]


def test_a_tracer_that_is_not_there_is_found(alone: str, clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRACER_TRACER", "oracle")
    found = wrong(alone, clickhouse)
    assert list(found) == ["tracer"]
    assert "'oracle'" in found["tracer"]
    assert "commonest_agent" in found["tracer"]


@pytest.mark.parametrize(
    ("name", "value", "role"), [("LIMITS", "{", "streams"), ("TRACER_UNCOUNTED", "user", "tracer")]
)
def test_a_worker_says_of_a_setting_that_is_no_json_which_it_is(name: str, value: str, role: str) -> None:
    done = agentracer("worker", role, **{f"AGENTRACER_{name}": value})
    assert_one_sentence(done, 2, f"AGENTRACER_{name} is not JSON")


def test_only_what_is_about_a_setting_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRACER_TRACER_CONCURRENCY", "many")
    with pytest.raises(ValueError, match="tracer_concurrency") as setting:
        TracerSettings()
    assert is_of_settings(setting.value)
    assert wrong_setting(setting.value).startswith("the setting AGENTRACER_TRACER_CONCURRENCY is 'many': ")
    with pytest.raises(ValueError, match="agent") as message:
        step(agent="")
    assert not is_of_settings(message.value), "a message that is wrong is a defect of ours, with its trace"
    monkeypatch.setenv("AGENTRACER_LIMITS", "{")
    with pytest.raises(ValueError, match="limits") as no_json:
        StreamsSettings()
    assert is_of_settings(no_json.value)


# ---- broker ----


def test_a_broker_without_topics_has_every_one_of_them_named(clickhouse: str) -> None:
    with EmbeddedBroker() as broker:
        found = wrong(broker.bootstrap, clickhouse)
    assert set(found) == {f"topic {name}" for name in TopicName}
    assert all("agentracer topics apply" in message for message in found.values())


async def break_topics(bootstrap: str) -> None:
    """Delete one topic and set another one's retention, as somebody else might."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([TopicName.LABELS.value])
        settings = TOPICS[TopicName.VERDICTS].config() | {"retention.ms": "1000"}
        resource = ConfigResource(ConfigResourceType.TOPIC, TopicName.VERDICTS.value, settings)
        await admin.alter_configs([resource])
    finally:
        await admin.close()


@pytest.mark.kafka
def test_on_kafka_a_missing_topic_and_another_setting_are_found_and_mended(
    kafka_alone: Broker, clickhouse: str
) -> None:
    broker = kafka_alone.bootstrap
    created = json_of("topics", "apply", "--broker", broker)
    assert {change["kind"] for change in created} == {"created"}
    assert wrong(broker, clickhouse) == {}
    asyncio.run(break_topics(broker))
    found = wrong(broker, clickhouse)
    assert set(found) == {"topic labels", "topic verdicts"}
    assert "is missing" in found["topic labels"]
    assert "retention.ms='1000'" in found["topic verdicts"]
    mended = json_of("topics", "apply", "--broker", broker)
    assert {(change["topic"], change["kind"]) for change in mended} == {("labels", "created"), ("verdicts", "altered")}
    assert wrong(broker, clickhouse) == {}
    assert invoke("topics", "apply", "--broker", broker).stdout == "nothing to do\n"


def test_another_number_of_partitions_is_refused_and_changes_nothing(up: Up) -> None:
    done = up.invoke("topics", "apply", "--partitions", "8")
    assert "has 4 partitions, not 8" in str(done.exception)
    assert up.json_of("topics", "apply") == []


# ---- store ----


def test_a_store_that_is_away_is_found_and_its_password_not_told(alone: str) -> None:
    found = wrong(alone, "http://user:secret@127.0.0.1:1/x")
    assert list(found) == ["store"]
    assert "127.0.0.1:1" in found["store"]
    assert "secret" not in found["store"]


def test_a_store_without_tables_is_found(alone: str, store_url: str) -> None:
    found = wrong(alone, f"{store_url}/not_migrated")
    assert list(found) == ["tables"]
    assert "agentracer migrate" in found["tables"]


def test_a_store_that_lacks_a_migration_is_found(alone: str, store_url: str) -> None:
    with own_store(store_url) as store:
        store.client.command("ALTER TABLE schema_migrations DELETE WHERE number = 7 SETTINGS mutations_sync = 1")
        found = wrong(alone, f"{store_url}/{store.database}")
        assert list(found) == ["tables"]
        assert "0007" in found["tables"]
        assert json_of("migrate", "--clickhouse", f"{store_url}/{store.database}") == ["0007_pipeline_events"]
        assert wrong(alone, f"{store_url}/{store.database}") == {}


@pytest.mark.parametrize("difference", [-CLOCK_S - 2, CLOCK_S + 2])
def test_clocks_that_differ_are_found(difference: float, alone: str, clickhouse: str) -> None:
    findings = examine(alone, clickhouse, lambda: time.time() + difference)
    (found,) = (finding for finding in findings if not finding.is_well)
    assert found.what == "the store's clock"
    assert f"{-difference:+.0f} s" in found.message


# ---- how it is told ----


def test_the_exit_code_says_whether_all_is_well(alone: str, clickhouse: str) -> None:
    well = invoke("doctor", "--broker", alone, "--clickhouse", clickhouse)
    assert (well.exit_code, "WRONG" in well.stdout) == (0, False)
    ill = invoke("doctor", "--broker", alone, "--clickhouse", clickhouse, AGENTRACER_TRACER="oracle")
    assert (ill.exit_code, ill.stdout.count("WRONG")) == (1, 1)
    listed = invoke("doctor", "--json", "--broker", alone, "--clickhouse", clickhouse, AGENTRACER_TRACER="oracle")
    assert listed.exit_code == 1
    assert '"is_well": false' in listed.stdout


def test_a_finding_is_shown_as_text() -> None:
    table = shown(report_table([Finding("rules", is_well=False, message="[systems.x] [/red] \x1b[2J")]))
    assert r"WRONG  rules  [systems.x] [/red] \x1b[2J" in table


def test_a_wrong_address_is_refused_and_not_a_finding(clickhouse: str) -> None:
    done = invoke("doctor", "--broker", "a:notaport", "--clickhouse", clickhouse)
    assert isinstance(done.exception, SettingsError)
