"""Addresses and files that a person names: what can't be meant is refused before anything is tried."""

import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import typer

from ops import options
from ops.cli import app
from ops.options import usable, writable
from schemas.errors import SettingsError
from tests.ops.processes import agentracer, assert_one_sentence, invoke
from tests.ops.test_cli import _commands

BROKERS = ["", "127.0.0.1:notaport", ":9092", "a:0", "a:70000", "a:1,", "kafka://a:1", "a b:1", "user@a:1", "[::1"]
STORES = [
    "",
    "nonsense",
    "host:8123/agentracer",
    "ftp://host/x",
    "chdb://",
    "http://",
    "http://[::1",
    "http://h:x/",
    "/etc",
]


@pytest.mark.parametrize("text", BROKERS)
def test_what_is_no_brokers_address_is_refused(text: str) -> None:
    for command in (("send", "jsonl", "x"), ("topics", "apply"), ("doctor",), ("up",), ("run", "x"), ("demo",)):
        error = invoke(*command, "--broker", text).exception
        assert isinstance(error, SettingsError), command
        assert repr(text) in str(error)
        assert "HOST:PORT" in str(error)


@pytest.mark.parametrize("text", STORES)
def test_what_is_no_url_of_clickhouse_is_refused(text: str) -> None:
    for command in (("verdicts",), ("show", "x"), ("migrate",), ("doctor",), ("up",), ("run", "x"), ("demo",)):
        error = invoke(*command, "--clickhouse", text).exception
        assert isinstance(error, SettingsError), command
        assert "http://user:password@host:8123/database" in str(error)


def test_an_address_in_the_environment_is_held_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(invoke("topics", "apply", AGENTRACER_BOOTSTRAP="a:notaport").exception, SettingsError)
    assert isinstance(invoke("verdicts", AGENTRACER_CLICKHOUSE_URL="nonsense").exception, SettingsError)


def test_a_refused_url_does_not_show_its_password() -> None:
    error = invoke("verdicts", "--clickhouse", "htp://user:secret@host/x").exception
    assert isinstance(error, SettingsError)
    assert "host/x" in str(error)
    assert "secret" not in str(error)


def test_a_store_that_is_away_is_one_sentence_without_its_password_or_a_librarys_words() -> None:
    done = agentracer("verdicts", "--clickhouse", "http://user:secret@127.0.0.1:1/x")
    assert_one_sentence(done, 3, "127.0.0.1:1")
    assert done.stderr.startswith("agentracer: ")
    assert "secret" not in done.stderr


def test_the_log_of_a_worker_tells_no_password_when_the_store_is_away() -> None:
    done = agentracer(
        "worker", "sink", AGENTRACER_CLICKHOUSE_URL="http://user:secret@127.0.0.1:1/x", AGENTRACER_SINK_START_S="1"
    )
    assert_one_sentence(done, 3, "127.0.0.1:1")
    assert "secret" not in done.stderr


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("0", NOW),
        ("1.5", NOW - timedelta(hours=1.5)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28T10:00:00.5+02:00", datetime(2026, 2, 28, 10, 0, 0, 500_000, timezone(timedelta(hours=2)))),
        ("2026-02-28 10:00:00+00:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
    ],
)
def test_a_moment_is_so_many_hours_ago_or_a_time(text: str, time: datetime) -> None:
    assert options.moment_of(text, NOW) == time


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf", "1e99", "2026-13-01", "24h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=repr(text)):
        options.moment_of(text, NOW)


@pytest.mark.parametrize("text", ["127.0.0.1:9092", "a:1,b:2", "[::1]:9092", "kafka", "kafka-0.kafka.svc:9092, b"])
def test_brokers_may_be_several_and_named_in_every_way(text: str) -> None:
    assert options._hosts(text) == text


@pytest.mark.parametrize("text", ["http://h", "https://u:p%40@h:8443/x", "http://[::1]:8123/x"])
def test_a_store_may_be_named_in_every_way(text: str) -> None:
    assert options._url(text) == text


def test_every_option_and_argument_says_what_it_is() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    for path in _commands(group):
        command: Any = group
        for name in path:
            command = command.commands[name]
        for param in command.params:
            assert param.help, (path, param.name)


BOTH = [
    (("--broker", "a:1", "--kafka"), ("--broker", "--kafka")),
    (("--clickhouse", "http://a:1/x", "--store", "folder"), ("--clickhouse", "--store")),
]


@pytest.mark.parametrize(("choices", "words"), BOTH, ids=["broker", "store"])
def test_choices_that_exclude_each_other_are_refused_before_anything_starts(
    choices: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"trajectory_id": "t", "agent": "a"}\n')
    commands = [("up",), ("run", str(file))] + ([("demo",)] if "--store" not in choices else [])
    for command in commands:
        started = time.monotonic()
        error = invoke(*command, *choices).exception
        assert isinstance(error, SettingsError), command
        assert all(word in str(error) for word in words)
        assert time.monotonic() - started < 2


def test_a_file_that_can_not_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    assert writable(None) is None
    assert writable(tmp_path / "new") == tmp_path / "new"
    for path in (tmp_path, tmp_path / "nowhere" / "out"):
        with pytest.raises(SettingsError, match=str(path)):
            writable(path)
    error = invoke("run", "runs.jsonl", "--out", str(tmp_path / "nowhere" / "out")).exception
    assert isinstance(error, SettingsError)
    assert "nowhere" in str(error)


def test_an_error_of_a_file_is_a_sentence_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing.*No such file.*name another"), usable(tmp_path / "missing"):
        (tmp_path / "missing").read_bytes()


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    for option in ("--broker-port", "--store-port"):
        done = invoke("up", option, port)
        assert done.exit_code == 2
        assert option in done.stderr
