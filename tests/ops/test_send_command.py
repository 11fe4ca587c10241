"""`agentracer send`: at the rate that is asked for, to the end or to Ctrl-C, with a summary in any case."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ops.embedded.broker import EmbeddedBroker
from ops.send import Refusal
from ops.sending import raise_refused
from schemas.errors import AgentracerError, TopicError
from tests.ops.processes import Running, Up, agentracer, assert_one_sentence, invoke


def write(file: Path, trajectories: int, steps: int) -> str:
    """Write a file of runs that did not fail, so that nothing of them is traced."""
    lines = (
        {"trajectory_id": f"{file.parent.name}-{number}", "agent": "a", "content": f"step {index}", "system": "sent"}
        for number in range(trajectories)
        for index in range(steps)
    )
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(file)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write(tmp_path / "runs.jsonl", 4, 10)


def test_the_summary_counts_what_was_acknowledged(up: Up, file: str) -> None:
    assert up.json_of("send", "jsonl", file) == {"acknowledged": 40, "steps": 40, "refused": 0}
    twice = up.json_of("send", "jsonl", file, "--duplicate", "1", "--ndjson", "7", "--shuffle", "--concurrency", "3")
    assert twice == {"acknowledged": 80, "steps": 40, "refused": 0}
    assert up.invoke("send", "jsonl", file).stdout == "40 events acknowledged\n"


@pytest.mark.parametrize("options", [(), ("--ndjson", "5")], ids=["single", "ndjson"])
def test_events_are_sent_at_the_rate_that_is_asked_for(up: Up, file: str, options: tuple[str, ...]) -> None:
    started = time.monotonic()
    assert up.json_of("send", "jsonl", file, "--rate", "25", *options)["acknowledged"] == 40
    assert 1.2 < time.monotonic() - started < 4, "39 events at 25 a second take 1.56 s; the last record is of 5 at most"


def test_json_alone_is_on_standard_output(up: Up, file: str) -> None:
    done = agentracer("send", "jsonl", file, "--json", **up.settings)
    assert (done.returncode, json.loads(done.stdout)["acknowledged"], done.stderr) == (0, 40, "")


def summary_after_ctrl_c(up: Up, file: str, folder: Path, seen: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Send until the store has a trajectory, then interrupt."""
    command = ("send", "jsonl", file, "--json", "--rate", "200", *options)
    with Running(*command, folder=folder, **up.settings) as running:
        running.wait_until(lambda: up.invoke("show", seen).exit_code == 0)
        code = running.end(signal.SIGINT)
        assert running.said == "interrupted"
        return code, json.loads(running.printed)


def test_a_loop_goes_on_until_ctrl_c_which_is_no_failure(up: Up, file: str, tmp_path: Path) -> None:
    code, summary = summary_after_ctrl_c(up, file, tmp_path, f"{tmp_path.name}-0#2", "--loop")
    assert code == 0
    assert summary["refused"] == 0
    assert summary["acknowledged"] > 40, "more than one lap"
    assert "steps" not in summary, "a loop keeps no ids, so it can't count steps"


def test_ctrl_c_before_the_end_of_a_file_is_told_by_the_exit_code(up: Up, tmp_path: Path) -> None:
    file = write(tmp_path / "long.jsonl", 5_000, 2)
    code, summary = summary_after_ctrl_c(up, file, tmp_path, f"{tmp_path.name}-0")
    assert code == 130
    assert 0 < summary["acknowledged"] < 10_000
    assert summary["steps"] == summary["acknowledged"]


def test_a_broker_without_topics_says_which_command_makes_them(file: str) -> None:
    with EmbeddedBroker() as broker:
        done = invoke("send", "jsonl", file, "--broker", broker.bootstrap)
    assert isinstance(done.exception, TopicError)
    assert "agentracer topics apply" in str(done.exception)


def test_ctrl_c_is_obeyed_though_the_broker_is_gone(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        assert invoke("topics", "apply", "--broker", broker.bootstrap).exit_code == 0
        file = write(tmp_path / "long.jsonl", 50, 200)
        with Running("send", "jsonl", file, "--rate", "100", "--broker", broker.bootstrap, folder=tmp_path) as running:
            time.sleep(2)
            broker.stop()
            time.sleep(0.5)
            assert running.end(signal.SIGINT, within_s=20) == 130
    assert "interrupted" in running.said
    assert "Traceback" not in running.said


@pytest.mark.parametrize("kind", ["who-and-when", "tau-bench"])
def test_a_file_of_another_form_is_named(kind: str, up: Up, file: str) -> None:
    assert_one_sentence(agentracer("send", kind, file, **up.settings), 2, Path(file).name)


def test_what_the_broker_would_not_take_is_an_error_that_names_the_first() -> None:
    raise_refused([])
    with pytest.raises(AgentracerError, match="2 events were refused, 'e1' first: too large"):
        raise_refused([Refusal("t", "e1", "too large"), Refusal("t", "e2", "too large")])
