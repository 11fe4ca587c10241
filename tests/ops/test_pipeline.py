"""Every role as a process on embedded servers: what is noticed, and that nothing stays."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from ops.child import is_free
from ops.pipeline import DATABASE, QUICK_TO_JOIN, Pipeline, Where, retention
from ops.query import connect
from ops.roles import Role
from ops.run import FAST
from ops.run_path import worker_settings
from schemas.errors import AgentracerError, BrokerUnavailableError, SettingsError, StoreUnavailableError
from streams.settings import StreamsSettings
from streams.sink_settings import SinkSettings
from tests.ops.processes import Started, below, soon
from tracer.settings import TracerSettings


def children() -> list[Started]:
    """List what this process has started with these tests, and not what its fixtures have."""
    own = os.getpid()
    return [one for one in below(own) if one.parent == own and "ops.cli worker" in one.command]


@pytest.mark.parametrize("name", [*FAST, *QUICK_TO_JOIN, *worker_settings({"tracer": "random", "rules": None})])
def test_every_variable_that_a_pipeline_sets_is_a_setting_of_a_role(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = (FAST | QUICK_TO_JOIN | {"AGENTRACER_TRACER": "random"})[name]
    monkeypatch.setenv(name, value)
    kinds: tuple[type[BaseSettings], ...] = (StreamsSettings, TracerSettings, SinkSettings)
    field = name.removeprefix("AGENTRACER_").lower().split("__")[0]
    assert any(field in kind().model_fields_set for kind in kinds)


def test_choices_of_a_command_are_judged_before_a_worker_would() -> None:
    with pytest.raises(SettingsError, match="no tracer 'nonsense'"):
        worker_settings({"tracer": "nonsense"})
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        worker_settings({"tracer": "random", "rules": Path("nowhere.toml")})
    assert worker_settings({"tracer": "random", "rules": None}) == {"AGENTRACER_TRACER": "random"}


def test_a_pipeline_keeps_rows_as_long_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRACER_STEP_RETENTION_DAYS", "7")
    monkeypatch.setenv("AGENTRACER_RETENTION_DAYS", "8")
    assert retention() == (7, 8)


def test_contradictions_are_refused_before_anything_starts(tmp_path: Path) -> None:
    for where in (Where(broker="a:1", kafka=True), Where(clickhouse="http://a:1/x", store=tmp_path)):
        with pytest.raises(SettingsError, match="exclude each other"):
            Pipeline(where)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Iterator[Pipeline]:
    """One pipeline for the tests below, which take away from it one thing after another."""
    with Pipeline(Where(store=folder / "store"), settings=FAST) as pipeline:
        yield pipeline


def test_all_roles_run_and_nothing_is_amiss(pipeline: Pipeline) -> None:
    assert list(pipeline.workers) == list(Role)
    assert len(children()) == len(Role)
    assert soon(lambda: "partitions assigned" in pipeline.workers[Role.TRACER].log.read_text())
    pipeline.check()
    assert "tracer.consume" in pipeline.workers[Role.TRACER].last_line()
    assert "tracer: {" in pipeline.last_lines()


def test_a_worker_that_is_killed_is_named_with_what_it_said(pipeline: Pipeline) -> None:
    tracer = pipeline.workers[Role.TRACER]
    tracer.process.kill()
    tracer.process.wait()
    with pytest.raises(AgentracerError, match=r"the tracer worker ended with -9; it said: .*tracer started"):
        pipeline.check()
    tracer.restart()
    pipeline.check()


def test_a_store_that_is_killed_is_named_with_what_it_said(pipeline: Pipeline, folder: Path) -> None:
    (store,) = (one for one in below(os.getpid()) if str(folder / "store") in one.command)
    os.kill(store.pid, signal.SIGKILL)
    assert soon(lambda: is_free(int(store.word_after("--port"))))
    with pytest.raises(StoreUnavailableError, match=r"the embedded store ended by itself; it said: listening on"):
        pipeline.check()


def test_a_broker_that_is_killed_is_named(pipeline: Pipeline) -> None:
    (broker,) = (one for one in below(os.getpid()) if f"tcp://{pipeline.bootstrap}" in one.command)
    os.kill(broker.pid, signal.SIGKILL)
    assert soon(lambda: is_free(int(pipeline.bootstrap.rpartition(":")[2])))
    (server,) = (one for one in pipeline._servers if one.name == "the embedded broker")
    with pytest.raises(BrokerUnavailableError, match="the embedded broker ended by itself"):
        server.check()


def test_where_nothing_can_be_drained_the_end_is_quick_and_whole(pipeline: Pipeline) -> None:
    assert len(children()) == len(Role)
    started = time.monotonic()
    pipeline.stop()
    assert time.monotonic() - started < 5
    assert children() == []


def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {one.pid for one in below(os.getpid())}

    def interrupt(note: str) -> None:
        if "sink" in note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Pipeline(Where(), settings=FAST, on_note=interrupt):
        pass
    assert {one.pid for one in below(os.getpid())} <= before
    assert list(tmp_path.glob("store-*")) == []


def test_a_store_of_ones_own_gets_its_tables_in_the_database_of_its_url(store_url: str) -> None:
    url = f"{store_url}/of_its_own"
    listed = "SELECT count() FROM system.tables WHERE database = {name:String}"
    with connect(f"{store_url}/default") as client:
        before = client.query(listed, {"name": DATABASE}).result_rows
    with Pipeline(Where(clickhouse=url), settings=FAST) as pipeline:
        assert pipeline.environment["AGENTRACER_CLICKHOUSE_URL"] == url
        pipeline.check()
        with connect(url) as client:
            assert client.query("SELECT count() FROM trajectories").result_rows == [(0,)]
            assert client.query(listed, {"name": DATABASE}).result_rows == before
    with connect(url) as client:
        assert client.query("SELECT count() FROM trajectories").result_rows == [(0,)], "it was not started here"
        client.command("DROP DATABASE of_its_own")
