"""The table of held-out runs."""

import subprocess
import sys

from schemas import Trajectory
from trainer.steps.rows import Named, Way
from trainer.steps.runs import Labelled, Split, draw
from trainer.steps.table import TRACER, lines, scored


def oracle(runs: list[Labelled], off: int = 0) -> Way:
    """Return a way that knows, or that is off by some steps."""
    known = {one.run.trajectory_id: one for one in runs}

    def way(trajectory: Trajectory) -> Named:
        found = known[trajectory.trajectory_id]
        return Named(found.agent, found.step_index + off)

    return way


def test_a_row_that_knows_is_right_everywhere_and_one_that_is_off_by_one_nowhere() -> None:
    runs = list(draw(Split.SEEDS, 6))
    assert scored(oracle(runs), runs, "oracle").steps == (True,) * 6
    found = scored(oracle(runs, off=1), runs, "off")
    assert found.steps == (False,) * 6
    assert found.agents == (True,) * 6


def test_each_row_is_held_against_the_tracer_on_the_same_runs() -> None:
    runs = list(draw(Split.SEEDS, 6))
    found = {TRACER: scored(oracle(runs), runs, "a"), "other": scored(oracle(runs, off=1), runs, "b")}
    text = "\n".join(lines(Split.SEEDS, runs, found))
    assert "| tracer | 100 (" in text
    assert "| other | 6, 0, 0.031 |" in text


def test_one_command_prints_it() -> None:
    command = [sys.executable, "-m", "trainer.steps.table", "--limit", "2", "--rows", "rule", "--fitted-on", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "## seeds: 2 runs" in done.stdout
    assert done.stdout.count("rule: last_step") == 3
