"""`agentracer trace`: a run from a file or from the store through a tracer now."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.trace_now import stored, trajectories_at
from schemas import CloseReason, ToolUse, VerdictPurpose, VerdictStatus
from schemas.errors import AgentracerError, SettingsError
from streams.sink import Store
from tests.factories import step, trajectory
from tests.stores import emptied, own_store, put_trajectory

LINES = """\
{"trajectory_id": "run-1", "agent": "planner", "content": "look up the price"}
{"trajectory_id": "run-2", "agent": "writer", "content": "hello"}
{"trajectory_id": "run-1", "agent": "worker", "content": "no such article", "error_type": "KeyError"}
{"trajectory_id": "run-1", "kind": "outcome", "outcome": {"result": "failure"}}
"""


@pytest.fixture(scope="module")
def shared(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def store(shared: Store) -> Store:
    return emptied(shared)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AGENTRACER_")}
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments], check=False, capture_output=True, text=True, env=inherited
    )


def test_a_file_of_lines_is_assembled_run_by_run(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(LINES)
    first, second = trajectories_at(file)
    assert [one.agent for one in first.steps] == ["planner", "worker"]
    assert first.outcome is not None
    assert (second.trajectory_id, len(second.steps)) == ("run-2", 1)


def test_a_trajectory_as_it_stands_on_its_topic_is_read_as_it_is(tmp_path: Path) -> None:
    one = trajectory([step("t1", 0), step("t1", 1)], close_reason=CloseReason.IDLE)
    file = tmp_path / "t1.json"
    file.write_text(one.model_dump_json())
    assert trajectories_at(file) == [one]


def test_a_file_that_is_nearly_a_trajectory_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "t1.json"
    file.write_text('{"trajectory_id": "t1", "steps": []}')
    with pytest.raises(SettingsError, match="opened_at: Field required"):
        trajectories_at(file)


def test_a_stored_run_comes_back_with_all_that_a_tracer_is_shown(store: Store) -> None:
    tool = ToolUse(name="search", arguments={"q": "A-7"}, result=[1, None], error="timeout")
    steps = [step("t1", 0, agent_role="plans"), step("t1", 1, tool=tool, error_type="TimeoutError", input="asked")]
    put_trajectory(store, trajectory(steps, task="find A-7"))
    found = stored(f"http://{store.address}/{store.database}", "t1")
    assert [one.content for one in found.steps] == [one.content for one in steps]
    assert (found.task, found.steps[0].agent_role) == ("find A-7", "plans")
    assert (found.steps[1].tool, found.steps[1].input, found.steps[1].error_type) == (tool, "asked", "TimeoutError")


def test_a_run_that_is_nowhere_is_an_error_that_says_where_to_look(store: Store) -> None:
    with pytest.raises(AgentracerError, match="agentracer verdicts"):
        stored(f"http://{store.address}/{store.database}", "nobody")


def test_the_command_prints_a_verdict_that_is_marked_as_retraced(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(LINES)
    done = command("trace", str(file), "--method", "last_error", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert (first["agent"], first["step_index"], first["purpose"]) == ("worker", 1, VerdictPurpose.RETRACE)
    assert second["status"] == VerdictStatus.ABSTAINED


def test_the_command_shows_a_person_who_and_where_and_why(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(LINES)
    done = command("trace", str(file), "--method", "last_error")
    assert "worker at step 1" in done.stdout
    assert "KeyError" in done.stdout


def test_an_unknown_method_is_named_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(LINES)
    done = command("trace", str(file), "--method", "guess")
    assert done.returncode == SettingsError.exit_code
    assert "step_scores" in done.stderr


def test_an_evaluation_without_a_model_is_one_command(data: Path, tmp_path: Path) -> None:
    source = data / "who_and_when"
    page = tmp_path / "report.html"
    kept = tmp_path / "answers.jsonl"
    rows = ("--methods", "model-free")
    kept_and_shown = ("--results", str(kept), "--html", str(page), "--json")
    done = command("evaluate", "who-and-when", str(source), "--limit", "5", *rows, *kept_and_shown)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["trajectories"] == 10
    assert {"constant", "commonest_agent", "uniform"} <= {row["name"] for row in report["rows"]}
    assert page.read_text().startswith("<!doctype html>")
