"""`agentracer up`: ready when it says so, and gone with everything it started, however it ends."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops import child
from tests.ops.processes import ROLES, Running, Started, Up, agentracer, assert_one_sentence, soon, start_up


@contextmanager
def own_up(folder: Path, *arguments: str) -> Iterator[tuple[Up, list[Started]]]:
    """Start one that the test may end, and list its children."""
    up = start_up(folder, *arguments)
    with up.running:
        up.running.wait_until(lambda: len(up.running.children()) == ROLES + 2)
        yield up, up.running.children()


def nothing_stays(children: list[Started]) -> bool:
    return soon(lambda: not any(one.is_running for one in children), within_s=10)


def test_it_says_where_it_is_and_serves_there(up: Up) -> None:
    assert f"broker {up.broker}" in up.running.said
    assert f"clickhouse {up.clickhouse}" in up.running.said
    assert "the store is forgotten at the end" in up.running.said
    assert up.running.printed == "", "results go to stdout, and it has none"
    assert all(finding["is_well"] for finding in up.json_of("doctor"))


def test_topics_that_are_there_need_nothing(up: Up) -> None:
    assert up.json_of("topics", "apply") == []
    assert up.invoke("topics", "apply").stdout == "nothing to do\n"
    assert up.json_of("migrate") == []


@pytest.mark.parametrize("taken", ["--store-port", "--broker-port"])
def test_a_port_that_is_taken_is_one_sentence_and_nothing_stays(taken: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        other = "--broker-port" if taken == "--store-port" else "--store-port"
        with Running("up", taken, port, other, str(child.free_port()), folder=tmp_path) as running:
            assert running.process.wait(30) == 3
    assert f"127.0.0.1:{port}' is taken" in running.said
    assert "name another port" in running.said
    assert "Traceback" not in running.said
    assert running.children() == []


def test_a_second_up_on_the_same_ports_is_refused_and_the_first_goes_on(up: Up) -> None:
    ports = ("--broker-port", up.broker.rpartition(":")[2], "--store-port", up.clickhouse.split(":")[2].split("/")[0])
    done = agentracer("up", *ports)
    assert done.returncode == 3
    assert "is taken" in " ".join(done.stderr.split())
    assert up.json_of("migrate") == []


def test_ctrl_c_drains_ends_everything_and_is_no_failure(tmp_path: Path) -> None:
    with own_up(tmp_path, "--store", str(tmp_path / "store")) as (up, children):
        up.send(tmp_path / "runs.jsonl", '{"trajectory_id": "t", "agent": "a", "content": "the last before the end"}')
        assert "forgotten" not in up.running.said
        assert up.running.end(signal.SIGINT) == 0
        assert up.running.said.endswith("draining")
        assert nothing_stays(children)
        assert child.is_free(int(up.broker.rpartition(":")[2]))
    assert (tmp_path / "store").is_dir(), "a store that was named stays"


def test_a_second_ctrl_c_does_not_wait_for_what_does_not_drain(tmp_path: Path) -> None:
    with own_up(tmp_path) as (up, children):
        tracer = up.running.child("ops.cli worker tracer")
        os.kill(tracer.pid, signal.SIGSTOP)
        up.running.process.send_signal(signal.SIGINT)
        up.running.wait_until(lambda: up.running.said.endswith("draining"))
        time.sleep(0.5)
        assert up.running.end(signal.SIGINT, within_s=10) == 130
        assert nothing_stays(children)
        assert "Traceback" not in up.running.said


def test_a_kill_of_the_command_line_takes_everything_with_it(tmp_path: Path) -> None:
    with own_up(tmp_path) as (up, children):
        assert up.running.end(signal.SIGKILL) == -signal.SIGKILL
        assert nothing_stays(children)


def test_a_worker_that_dies_ends_it_with_what_that_said(tmp_path: Path) -> None:
    with own_up(tmp_path) as (up, children):
        tracer = up.running.child("ops.cli worker tracer")
        up.running.wait_until(lambda: "tracer started" in tracer.output)
        os.kill(tracer.pid, signal.SIGKILL)
        killed = time.monotonic()
        assert up.running.process.wait(30) == 1
        assert time.monotonic() - killed < 20
        assert "the tracer worker ended with -9; it said: {" in up.running.said
        assert "Traceback" not in up.running.said
        assert nothing_stays(children)


def test_a_tracer_that_is_not_there_is_named_before_anything_starts() -> None:
    assert_one_sentence(agentracer("up", "--tracer", "nonsense"), 2, "no tracer 'nonsense'", "commonest_agent")


def test_rules_that_can_not_be_used_are_named_before_anything_starts(tmp_path: Path) -> None:
    rules = tmp_path / "[" / "red].toml"
    rules.parent.mkdir()
    rules.write_text("[default]\nsample_successes = 7\n")
    assert_one_sentence(agentracer("up", "--rules", str(rules)), 2, "[/red].toml", "sample_successes")
