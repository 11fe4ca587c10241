"""What the runs of one task tell by being compared."""

from typing import Any

import pytest

from schemas import StepEvent, StepKind, ToolUse, Trajectory
from tests.factories import step, trajectory
from tracer.methods.spectrum import Action, Run, guess_of, ochiai, spectrum_of


def run(*steps: StepEvent, failed: bool) -> Run:
    return Run(trajectory(list(steps)), is_failed=failed)


def said(agent: str, **fields: Any) -> StepEvent:
    return step(agent=agent, **fields)


PLAN, CODE = said("planner"), said("coder")
SEARCH = said("searcher", kind=StepKind.TOOL_CALL, tool=ToolUse(name="search"))
BROKEN = said("searcher", kind=StepKind.TOOL_CALL, tool=ToolUse(name="search", error="timed out"))
PASSED = run(PLAN, SEARCH, CODE, failed=False)
FAILED = run(PLAN, CODE, BROKEN, CODE, failed=True)


def test_the_action_that_only_failed_runs_have_is_named() -> None:
    spectrum = spectrum_of([FAILED, PASSED, FAILED, PASSED])
    assert spectrum is not None
    assert spectrum.actions[0].action == Action("searcher", StepKind.TOOL_CALL, "search", "search failed")
    assert spectrum.actions[0][2:] == (1.0, 2, 0)
    guess = guess_of(spectrum, FAILED.trajectory)
    assert guess.ranked[0][:2] == ("searcher", 2)
    assert guess.raw == guess.ranked[0].score == pytest.approx((1.0 + 0.5**0.5) / 2)


def test_the_agent_that_only_failed_runs_have_is_the_most_suspicious() -> None:
    stranger = run(PLAN, said("stranger"), failed=True)
    spectrum = spectrum_of([stranger, stranger, PASSED, PASSED])
    assert spectrum is not None
    assert [(one.agent, one.failed, one.passed) for one in spectrum.agents][:2] == [
        ("stranger", 2, 0),
        ("planner", 2, 2),
    ]
    assert spectrum.agents[-1].score == 0.0


def test_an_action_counts_once_a_run_however_often_it_is_done() -> None:
    spectrum = spectrum_of([run(PLAN, PLAN, PLAN, failed=True), FAILED, PASSED, PASSED])
    assert spectrum is not None
    planner = next(one for one in spectrum.agents if one.agent == "planner")
    assert [planner.failed, planner.passed, planner.score] == pytest.approx([2, 2, 0.5**0.5])


def test_of_equally_suspicious_steps_the_earliest_is_named() -> None:
    same = run(PLAN, PLAN, failed=True)
    spectrum = spectrum_of([same, same, run(PLAN, failed=False), run(PLAN, failed=False)])
    assert [one.step_index for one in guess_of(spectrum, same.trajectory).ranked] == [0, 1]


@pytest.mark.parametrize("runs", [[], [FAILED, FAILED, PASSED], [FAILED, PASSED, PASSED], [PASSED, PASSED]])
def test_too_few_runs_say_nothing(runs: list[Run]) -> None:
    spectrum = spectrum_of(runs)
    assert spectrum is None
    assert guess_of(spectrum, FAILED.trajectory).ranked == ()


def test_how_few_are_too_few_is_a_setting() -> None:
    assert spectrum_of([FAILED, PASSED], least_failed=1, least_passed=1) is not None
    assert spectrum_of([PASSED], least_failed=0, least_passed=0) is None


def test_a_step_that_no_run_had_is_not_suspicious() -> None:
    other: Trajectory = trajectory([said("newcomer"), BROKEN])
    ranked = guess_of(spectrum_of([FAILED, FAILED, PASSED, PASSED]), other).ranked
    assert [(one.agent, one.score) for one in ranked][1] == ("newcomer", 0.0)


def test_ochiai_by_hand() -> None:
    assert ochiai(failed=3, passed=1, all_failed=4) == pytest.approx(0.75)
    assert ochiai(failed=0, passed=0, all_failed=4) == 0.0
