"""The command line as a person meets it: one sentence and an exit code when something is wrong, JSON for machines."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ops.cli import app
from ops.embedded.broker import EmbeddedBroker
from ops.embedded.store import EmbeddedStore
from ops.pipeline import DATABASE

NOBODY = "127.0.0.1:1"


def _agentracer(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def _commands(of: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in of.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name)


def _assert_one_sentence(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    for word in words:
        assert word in said


def test_every_command_has_a_help_that_says_what_it_does() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    for path in _commands(group):
        shown = CliRunner().invoke(app, [*path, "--help"])
        assert shown.exit_code == 0
        assert len(shown.output.splitlines()) > 4, path


@pytest.mark.parametrize("role", ["streams", "tracer", "sink"])
def test_a_worker_without_a_broker_says_so_and_ends(role: str) -> None:
    with EmbeddedStore() as store:
        url = f"{store.url}/{DATABASE}"
        assert _agentracer("migrate", "--clickhouse", url).returncode == 0
        done = _agentracer(
            "worker",
            role,
            AGENTRACER_BOOTSTRAP=NOBODY,
            AGENTRACER_CLICKHOUSE_URL=url,
            AGENTRACER_START_TIMEOUT_S="2",
            AGENTRACER_SINK_START_S="2",
        )
    _assert_one_sentence(done, 3, "no broker answers", NOBODY)


@pytest.mark.parametrize("role", ["streams", "tracer", "sink"])
def test_a_worker_without_topics_says_which_command_makes_them(role: str) -> None:
    with EmbeddedBroker() as broker, EmbeddedStore() as store:
        url = f"{store.url}/{DATABASE}"
        assert _agentracer("migrate", "--clickhouse", url).returncode == 0
        done = _agentracer("worker", role, AGENTRACER_BOOTSTRAP=broker.bootstrap, AGENTRACER_CLICKHOUSE_URL=url)
    _assert_one_sentence(done, 4, "agentracer topics apply")


def test_a_sink_without_a_store_says_so_and_ends() -> None:
    done = _agentracer("worker", "sink", AGENTRACER_CLICKHOUSE_URL="http://127.0.0.1:1/x", AGENTRACER_SINK_START_S="1")
    _assert_one_sentence(done, 3, "ClickHouse", "127.0.0.1:1")


def test_a_wrong_setting_is_named_with_its_value() -> None:
    done = _agentracer("worker", "streams", AGENTRACER_LIMITS__IDLE_MS="soon")
    _assert_one_sentence(done, 2, "AGENTRACER_LIMITS__IDLE_MS", "soon")


def test_rules_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[default]\nsample_successes = 7\n")
    with EmbeddedBroker() as broker:
        assert _agentracer("topics", "apply", "--broker", broker.bootstrap).returncode == 0
        done = _agentracer(
            "worker", "streams", AGENTRACER_BOOTSTRAP=broker.bootstrap, AGENTRACER_ROUTING_RULES=str(rules)
        )
    _assert_one_sentence(done, 2, "rules.toml", "sample_successes")


@pytest.mark.parametrize("command", [("verdicts",), ("show", "x"), ("dead-letters", "list")])
def test_reading_without_a_store_says_so(command: tuple[str, ...]) -> None:
    done = _agentracer(*command, "--clickhouse", "http://127.0.0.1:1/x")
    _assert_one_sentence(done, 3, "127.0.0.1:1")


def test_a_store_without_tables_says_which_command_makes_them() -> None:
    with EmbeddedStore() as store:
        done = _agentracer("verdicts", "--clickhouse", f"{store.url}/{DATABASE}")
    _assert_one_sentence(done, 5, "agentracer migrate")


def test_a_file_that_is_not_there_is_named() -> None:
    _assert_one_sentence(_agentracer("run", "nowhere.jsonl"), 2, "nowhere.jsonl")


def test_doctor_says_what_is_wrong_and_what_to_do() -> None:
    with EmbeddedStore() as store:
        done = _agentracer("doctor", "--json", "--broker", NOBODY, "--clickhouse", f"{store.url}/{DATABASE}")
    assert done.returncode == 1, done.stderr
    wrong = {finding["what"]: finding["message"] for finding in json.loads(done.stdout) if not finding["is_well"]}
    assert NOBODY in wrong["broker"]
    assert "agentracer migrate" in wrong["tables"]


def test_doctor_is_content_with_what_topics_apply_and_migrate_made() -> None:
    with EmbeddedBroker() as broker, EmbeddedStore() as store:
        url = f"{store.url}/{DATABASE}"
        assert _agentracer("topics", "apply", "--broker", broker.bootstrap).returncode == 0
        assert _agentracer("migrate", "--clickhouse", url).returncode == 0
        done = _agentracer("doctor", "--json", "--broker", broker.bootstrap, "--clickhouse", url)
    assert [finding for finding in json.loads(done.stdout) if not finding["is_well"]] == []
    assert done.returncode == 0
