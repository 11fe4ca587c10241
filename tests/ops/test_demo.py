"""`agentracer demo`: a simulated fleet through everything, with a verdict for every failure, and its true faults."""

import json
import signal
from pathlib import Path

from ops.demo import _named, _score, _table
from ops.pipeline import Where
from ops.query import VerdictLine
from tests.ops.processes import Running, agentracer, assert_one_sentence, soon
from tests.ops.test_show import shown, verdict_line
from trainer.simulator import decisive_step, fleet

KEYS = {"trajectories", "failed", "verdicts", "steps", "dead_letters", "lost", "duplicates", "seconds", "added"}


def test_json_is_one_object_in_which_every_failure_has_its_verdict() -> None:
    runs = list(fleet(25, 3))
    done = agentracer("demo", "--json", "--runs", "25", "--seed", "3", "--tracer", "commonest_agent")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == KEYS
    failed = sum(run.failed for run in runs)
    assert failed > 5
    assert (report["trajectories"], report["failed"], report["verdicts"]) == (25, failed, failed)
    steps = sum(len(run.actions) for run in runs)
    assert (report["steps"], report["added"]) == (steps, steps)
    assert (report["dead_letters"], report["lost"], report["duplicates"]) == (0, 0, 0)
    assert 0 < report["seconds"] < 60


def test_sigterm_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    with Running("demo", folder=tmp_path, TMPDIR=str(tmp_path)) as running:
        running.wait_until(lambda: bool(running.children()))
        children = running.children()
        assert running.end(signal.SIGTERM) == 143
        assert soon(lambda: not any(one.is_running for one in children))
    assert running.printed == ""
    assert "Traceback" not in running.said
    assert list(tmp_path.glob("store-*")) == []


def test_a_tracer_that_is_not_there_is_named_at_once() -> None:
    assert_one_sentence(agentracer("demo", "--tracer", "oracle"), 2, "no tracer 'oracle'")


def test_the_same_seed_gives_the_same_ids_unless_broker_or_store_stay() -> None:
    first, second = (_named(fleet(5, 1), Where()) for _ in range(2))
    assert list(first) == list(second) == [run.trajectory_id for run in fleet(5, 1)]
    for where in (Where(broker="a:1"), Where(clickhouse="http://a:1")):
        first, second = (_named(fleet(5, 1), where) for _ in range(2))
        assert not first.keys() & second.keys()
        assert [run.trajectory_id for run in first.values()] == [run.trajectory_id for run in second.values()]


def test_a_hit_is_called_one_and_the_score_counts_it() -> None:
    runs = _named((run for run in fleet(40, 5) if run.failed), Where())
    truth = {one: decisive_step(run) for one, run in runs.items()}
    known = [(one, step) for one, step in truth.items() if step is not None]
    (hit, hit_step), (agent_only, other_step), *rest = known
    found: dict[str, VerdictLine] = {
        one: verdict_line(trajectory_id=one, agent="nobody", step_index=999) for one in runs
    }
    found[hit] = verdict_line(trajectory_id=hit, agent=runs[hit].actions[hit_step].agent, step_index=hit_step)
    found[agent_only] = verdict_line(agent=runs[agent_only].actions[other_step].agent, step_index=999)
    rows = {
        row[1].strip(): row[-2].strip()
        for row in (line.split("│") for line in shown(_table(runs, found, truth)).splitlines())
        if len(row) > 2
    }
    assert (rows[hit], rows[agent_only]) == ("hit", "agent")
    assert {rows[one] for one, _ in rest if one in rows} == {""}
    assert f"named the agent in 2 and the step in 1 of {len(known)} failures" in _score(runs, found, truth)
