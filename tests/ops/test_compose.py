"""docker-compose.yml and what it mounts, held against the code and against each other; none of it needs Docker."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml

from ops import child
from ops.client import apply_topics
from ops.health import HealthSettings, watched
from ops.kafka.jars import KAFKA_VERSION, jars
from ops.kafka.server import KafkaServer
from ops.roles import Role
from schemas.errors import KafkaUnavailableError
from schemas.health import Part
from schemas.topics import TOPICS, TopicName
from streams.sink_settings import database_of
from tests.ops.deployed import DEPLOY, PROJECT, ROOT, health_of, ignored, options_of, ours, role_of
from tests.ops.deployed import SETTINGS as SETTINGS_OF
from tracer.methods.table import METHODS

TEXT = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")
EXAMPLE: dict[str, str] = dict(
    line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line and line[0] != "#"
)
COMPOSE: dict[str, Any] = yaml.safe_load(VARIABLE.sub(lambda found: EXAMPLE[found["name"]], TEXT))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
KAFKA: dict[str, str] = SERVICES["kafka"]["environment"]
COLLECTOR: dict[str, Any] = yaml.safe_load((DEPLOY / "collector" / "config.yaml").read_text())
EXPORTER = COLLECTOR["exporters"]["kafka"]
(SOURCE,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/clickhouse.yaml").read_text())["datasources"]


def _mounts(service: str) -> Iterator[tuple[str, str]]:
    for mount in SERVICES[service].get("volumes", []):
        source, target = mount.split(":")[:2]
        yield source, target


def _seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", duration).groups()  # type: ignore[union-attr]  # None fails too
    return float(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def test_the_file_is_what_the_compose_specification_allows() -> None:
    spec = find_spec("check_jsonschema")
    assert spec is not None
    assert spec.origin is not None
    schema = Path(spec.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(schema.read_text()))


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned_and_ours_has_the_version_of_the_project(service: str) -> None:
    name, _, tag = SERVICES[service]["image"].partition(":")
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.\d+)?", tag)
    if service in OURS:
        assert tag == PROJECT["version"]
        dockerfile = ROOT / SERVICES[service]["build"]["dockerfile"]
        assert dockerfile.is_file()
        assert name == f"agentracer-{dockerfile.stem}"


def test_kafka_is_the_version_that_the_tests_run_on() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_nothing_listens_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    assert not any("network_mode" in service for service in SERVICES.values())


def test_every_variable_is_in_the_example_and_the_example_has_no_other() -> None:
    assert {found["name"] for found in VARIABLE.finditer(TEXT)} == set(EXAMPLE)


def test_a_password_has_no_default_and_its_absence_is_an_error() -> None:
    secrets = {name for name in EXAMPLE if name.endswith("_PASSWORD")}
    assert {EXAMPLE[name] for name in secrets} == {"change-me"}
    for name in secrets:
        uses = {found["rest"][:2] for found in VARIABLE.finditer(TEXT) if found["name"] == name}
        assert ":?" in uses
        assert uses <= {":?", ""}
    for found in VARIABLE.finditer(TEXT):
        if found["name"] not in secrets:
            assert found["rest"] == f":-{EXAMPLE[found['name']]}"


def test_no_password_stands_in_a_deployment_file() -> None:
    for path in (file for file in [*DEPLOY.rglob("*"), ROOT / "docker-compose.yml"] if file.is_file()):
        for line in path.read_text().splitlines():
            said = re.search(r"password[\"']?\s*[:=>]\s*[\"']?([\w$<-][^\s\"']*)", line, re.IGNORECASE)
            assert said is None or said[1].startswith("$"), f"{path}: {line}"


@pytest.mark.parametrize("service", OURS)
def test_a_command_is_one_that_the_command_line_has(service: str) -> None:
    assert options_of(OURS[service]["command"])


@pytest.mark.parametrize("service", OURS)
def test_every_variable_of_ours_is_a_setting_of_what_it_is_given_to(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ours(OURS[service]["environment"])
    assert given.keys() == OURS[service]["environment"].keys()
    assert not ignored(OURS[service]["command"], given, monkeypatch)


def test_every_role_has_a_service() -> None:
    assert {role_of(service["command"]) for service in OURS.values()} >= set(SETTINGS_OF)


WORKERS = {name: service for name, service in OURS.items() if role_of(service["command"]) is not None}


@pytest.mark.parametrize("service", WORKERS)
def test_a_workers_health_check_asks_where_it_answers_and_fails_while_it_is_not_ready(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ours(WORKERS[service]["environment"])
    settings = health_of(given, monkeypatch)
    assert settings.health_host == "0.0.0.0"  # for a scraper beside it; nothing is published
    assert "ports" not in WORKERS[service]
    kind, python, flag, code = WORKERS[service]["healthcheck"]["test"]
    assert (kind, python) == ("CMD", "python")
    assert f"127.0.0.1:{settings.health_port}/" in code
    here = HealthSettings(health_port=child.free_port(), health_host="127.0.0.1")
    with watched(Role.SINK, here) as (_, health):
        command = [sys.executable, flag, code.replace(f":{settings.health_port}/", f":{here.health_port}/")]
        waiting = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        health.ready(Part.PARTITIONS)
        ready = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert waiting.returncode == 1
    assert "no partitions assigned" in waiting.stderr
    assert (ready.returncode, ready.stdout, ready.stderr) == (0, "", "")


def test_the_tracer_with_a_model_takes_the_place_of_the_one_without_where_a_gpu_is_asked_for() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"tracer-gpu": ["gpu"]}
    service = SERVICES["tracer-gpu"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert service["environment"]["AGENTRACER_TRACER"] in METHODS
    assert service["environment"].keys() > SERVICES["tracer"]["environment"].keys()
    ((_, folder),) = _mounts("tracer-gpu")
    assert f"HF_HOME={folder}" in (ROOT / service["build"]["dockerfile"]).read_text()


def test_a_health_check_gives_up_before_the_next_one() -> None:
    for service in SERVICES.values():
        if "healthcheck" in service:
            assert _seconds(service["healthcheck"]["timeout"]) < _seconds(service["healthcheck"]["interval"])
    assert {"kafka", "clickhouse", "grafana", *WORKERS} <= {one for one in SERVICES if "healthcheck" in SERVICES[one]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_waits_for_what_there_is_to_wait_for(service: str) -> None:
    for name, wait in SERVICES[service].get("depends_on", {}).items():
        awaited = SERVICES[name]
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in awaited
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert role_of(awaited["command"]) is None
            assert "restart" not in awaited


def test_a_worker_waits_for_topics_and_what_uses_the_store_for_tables() -> None:
    for name, service in SERVICES.items():
        if "kafka:" in str(service.get("environment")) and name not in {"kafka", "topics"}:
            assert "topics" in service["depends_on"], name
    assert "migrate" in SERVICES["sink"]["depends_on"]
    assert "migrate" in SERVICES["grafana"]["depends_on"]


def test_every_named_volume_is_declared_and_used() -> None:
    named = {source for name in SERVICES for source, _ in _mounts(name) if not source.startswith(".")}
    assert named == set(COMPOSE["volumes"])


def test_every_file_that_is_mounted_is_in_the_tree() -> None:
    for name in SERVICES:
        for source, target in _mounts(name):
            if source.startswith("."):
                path = ROOT / source
                assert path.is_dir() if "." not in Path(target).name else path.is_file(), source


@pytest.mark.parametrize("service", OURS)
def test_ours_runs_without_rights_and_drains_before_it_is_killed(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = OURS[service]
    assert given["read_only"]
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]
    role = role_of(given["command"])
    if role is not None:
        monkeypatch.delenv("AGENTRACER_SINK_STOP_S", raising=False)
        monkeypatch.delenv("AGENTRACER_DRAIN_TIMEOUT_S", raising=False)
        settings = SETTINGS_OF[role]()
        takes = [getattr(settings, name, 0.0) for name in ("sink_stop_s", "drain_timeout_s")]
        assert _seconds(given["stop_grace_period"]) > max(takes) + 5


def test_clients_name_an_address_that_kafka_gives_out() -> None:
    inside, outside = KAFKA["KAFKA_ADVERTISED_LISTENERS"].split(",")
    bootstraps = {service["environment"].get("AGENTRACER_BOOTSTRAP") for service in OURS.values()} - {None}
    assert bootstraps == {SERVICES["collector"]["environment"]["KAFKA_BROKERS"]} == {inside.removeprefix("INSIDE://")}
    (port,) = SERVICES["kafka"]["ports"]
    assert outside == f"OUTSIDE://{port.rpartition(':')[0]}"
    assert inside.rpartition(":")[2] in SERVICES["kafka"]["healthcheck"]["test"]


@pytest.mark.kafka
def test_kafka_starts_on_its_settings() -> None:
    try:
        jars()
    except KafkaUnavailableError as error:
        pytest.skip(f"NOT TESTED HERE: {error}")
    names = {name: name.removeprefix("KAFKA_").replace("_", ".").lower() for name in KAFKA}
    elsewhere = ("listeners", "voters", "log.dirs", "protocol.map", "listener.name", "cluster.id", "heap.opts")
    given = {names[name]: str(value) for name, value in KAFKA.items() if not names[name].endswith(elsewhere)}
    with KafkaServer(overrides=given) as server:
        asyncio.run(apply_topics(server.bootstrap, partitions=1, replicas=1))


def test_the_collector_writes_to_the_topic_of_spans_within_its_limit() -> None:
    topic = TOPICS[TopicName(EXPORTER["traces"]["topic"])]
    assert topic.name is TopicName.OTLP_SPANS
    assert EXPORTER["partition_traces_by_id"]
    assert EXPORTER["record_partitioner"] == {"sticky_key": {"hasher": "murmur2"}}
    assert EXPORTER["producer"]["required_acks"] == "all"
    assert not EXPORTER["producer"]["allow_auto_topic_creation"]
    protocols = COLLECTOR["receivers"]["otlp"]["protocols"]
    received = max(protocols["grpc"]["max_recv_msg_size_mib"] << 20, protocols["http"]["max_request_body_size"])
    batch = EXPORTER["sending_queue"]["batch"]
    assert batch["min_size"] < received < batch["max_size"] < EXPORTER["producer"]["max_message_bytes"]
    assert EXPORTER["producer"]["max_message_bytes"] <= topic.max_bytes


def test_the_collectors_pipeline_is_made_of_what_it_has() -> None:
    service = COLLECTOR["service"]
    used = {kind: set(names) for kind, names in service["pipelines"]["traces"].items()}
    assert used == {kind: set(COLLECTOR[kind]) for kind in ("receivers", "processors", "exporters")}
    assert set(service["extensions"]) == set(COLLECTOR["extensions"])
    listening = {one["endpoint"].rpartition(":")[2] for one in COLLECTOR["receivers"]["otlp"]["protocols"].values()}
    assert listening == {port.rpartition(":")[2] for port in SERVICES["collector"]["ports"]}
    asked = re.findall(r"\$\{env:(\w+)\}", json.dumps(COLLECTOR))
    assert set(asked) == set(SERVICES["collector"]["environment"])


def test_the_data_source_is_a_user_of_the_store_that_only_reads() -> None:
    users = ET.parse(DEPLOY / "clickhouse" / "reader.xml").getroot()
    details = SOURCE["jsonData"]
    user = users.find(f"users/{details['username']}")
    assert user is not None
    assert users.findtext(f"profiles/{user.findtext('profile')}/readonly") == "2"
    assert user.findtext("grants/query") == f"GRANT SELECT ON {details['defaultDatabase']}.*"
    (password,) = user.findall("password")
    variable = password.attrib["from_env"]
    assert SOURCE["secureJsonData"] == {"password": f"${variable}"}
    assert {variable} <= SERVICES["clickhouse"]["environment"].keys() & SERVICES["grafana"]["environment"].keys()


def test_the_data_source_is_where_the_sink_writes_and_its_plugin_is_installed() -> None:
    details, url = SOURCE["jsonData"], SERVICES["sink"]["environment"]["AGENTRACER_CLICKHOUSE_URL"]
    assert (details["host"], details["port"]) == (urlsplit(url).hostname, urlsplit(url).port)
    assert details["defaultDatabase"] == database_of(url)
    assert SERVICES["clickhouse"]["environment"]["CLICKHOUSE_USER"] == urlsplit(url).username
    plugin, _, version = SERVICES["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"].partition("@")
    assert plugin == SOURCE["type"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_grafana_finds_its_dashboards_where_they_are_mounted() -> None:
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/agentracer.yaml").read_text())["providers"]
    mounted = {target: ROOT / source for source, target in _mounts("grafana") if source.startswith(".")}
    assert mounted[provider["options"]["path"]].is_dir()
    assert (mounted["/etc/grafana/provisioning"] / "datasources").is_dir()
