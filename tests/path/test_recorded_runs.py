"""`agentracer run` on recorded runs: every run a trajectory, every failure a verdict, every step as in its file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.embedded.store import EmbeddedStore
from ops.pipeline import DATABASE
from ops.query import connect

HARD = ("--shuffle", "--duplicate", "0.3", "--concurrency", "50")
Steps = dict[str, list[tuple[str, str]]]
"""Agent and content of each step, by trajectory."""


def _run(path: Path, store: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ops.cli", "run", str(path), "--json", "--store", str(store), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def _stored(store: Path) -> Steps:
    found: Steps = {}
    with EmbeddedStore(store) as running, connect(f"{running.url}/{DATABASE}") as client:
        rows = client.query(
            "SELECT trajectory_id, agent, content FROM steps ORDER BY trajectory_id, position"
        ).result_rows
    for trajectory_id, agent, content in rows:
        found.setdefault(trajectory_id, []).append((agent, content))
    return found


def _who_and_when(folder: Path) -> Steps:
    """Read the files without any loader of ours."""
    found: Steps = {}
    for file in folder.rglob("*.json"):
        turns = json.loads(file.read_text())["history"]
        steps = [((turn.get("name") or turn["role"]).split(" (")[0], turn["content"]) for turn in turns]
        found[f"who-and-when/{file.parent.name}/{file.stem}"] = steps
    return found


def _tau_bench(file: Path) -> Steps:
    found: Steps = {}
    for run in json.loads(file.read_text()):
        contents = [message["content"] or "" for message in run["traj"]]
        found[f"tau-bench/{file.stem}/{run['task_id']}/{run['trial']}"] = [("", content) for content in contents]
    return found


@pytest.mark.parametrize("options", [(), HARD], ids=["plain", "hard"])
def test_who_and_when_comes_through_step_by_step(data: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = data / "who_and_when"
    report = _run(folder, tmp_path, *options)
    assert {name: report[name] for name in ("trajectories", "failed", "verdicts", "dead_letters", "lost")} == {
        "trajectories": 184,
        "failed": 184,
        "verdicts": 184,
        "dead_letters": 0,
        "lost": 0,
    }
    assert report["duplicates"] == 0
    assert _stored(tmp_path) == _who_and_when(folder)


@pytest.mark.parametrize("options", [(), HARD], ids=["plain", "hard"])
def test_tau_bench_comes_through_step_by_step(data: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    file = data / "tau_bench_airline" / "gpt-4o-airline.json"
    report = _run(file, tmp_path, *options)
    assert (report["trajectories"], report["failed"], report["verdicts"], report["dead_letters"]) == (200, 116, 116, 0)
    assert (report["lost"], report["duplicates"]) == (0, 0)
    stored = {one: [("", content) for _, content in steps] for one, steps in _stored(tmp_path).items()}
    assert stored == _tau_bench(file)


def test_a_second_run_of_the_same_file_adds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    lines: list[dict[str, Any]] = [
        {"trajectory_id": f"run-{number}", "agent": agent, "content": f"step of {agent}"}
        for number in range(3)
        for agent in ("planner", "worker")
    ]
    lines += [{"trajectory_id": "run-1", "kind": "outcome", "outcome": {"result": "failure"}}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "this is no event\n")
    first = _run(file, tmp_path / "store")
    assert (first["trajectories"], first["failed"], first["verdicts"], first["steps"]) == (3, 1, 1, 6)
    assert (first["dead_letters"], first["added"]) == (1, 6)
    again = _run(file, tmp_path / "store")
    assert (again["trajectories"], again["verdicts"], again["steps"], again["added"]) == (3, 1, 6, 0)
