"""Runs played again: from any step, byte for byte, and as the definition of the decisive step wants it."""

from dataclasses import replace

import pytest

from schemas.errors import StateError
from tests.trainer.turns import faultless, mistakes, natural, wire
from trainer.fleet import desk_moves, play
from trainer.fleet.pipeline_moves import Plan
from trainer.fleet.stages import Stage
from trainer.simulator import ALL, Run, agents, correct, decisive_step, faulty, perform, resume, simulate

SEEDS = {"coding-pipeline": range(30), "table-desk": range(60), "order-chat": range(60)}


@pytest.fixture(scope="module", params=ALL)
def runs(request: pytest.FixtureRequest) -> list[Run]:
    """Return runs of a system at the usual rate."""
    return [natural(request.param, seed) for seed in SEEDS[request.param]]


@pytest.fixture(scope="module")
def failed(runs: list[Run]) -> list[Run]:
    """Return those that failed."""
    found = [run for run in runs if run.failed]
    assert len(found) >= 8
    return found


def test_a_run_played_again_from_any_step_is_the_same_to_the_byte(runs: list[Run]) -> None:
    for run in runs[:20]:
        sent = wire(run)
        for step_index, action in enumerate(run.actions):
            again = resume(run, step_index, action)
            assert again == run
            assert wire(again) == sent


def test_a_step_done_again_by_its_move_is_the_same_action(runs: list[Run]) -> None:
    for run in runs[:20]:
        for step_index, action in enumerate(run.actions):
            assert perform(run, step_index, action.move) == action


def test_a_step_is_a_mistake_just_where_its_correction_differs(runs: list[Run]) -> None:
    for run in runs:
        differing = [n for n, action in enumerate(run.actions) if correct(run, n) != action]
        assert tuple(differing) == run.mistakes


def test_a_failed_run_holds_a_mistake_and_many_a_success_does_too(runs: list[Run]) -> None:
    assert all(run.mistakes for run in runs if run.failed)
    assert sum(bool(run.mistakes) for run in runs if not run.failed) >= 3


def test_the_decisive_step_is_the_first_whose_correction_succeeds(failed: list[Run]) -> None:
    for run in failed:
        succeeding = [n for n in range(len(run.actions)) if not resume(run, n, correct(run, n)).failed]
        assert decisive_step(run) == (succeeding[0] if succeeding else None)
        assert set(succeeding) <= set(run.mistakes)


def test_a_failure_has_no_decisive_step_only_where_two_mistakes_stand_alone(failed: list[Run]) -> None:
    for run in failed:
        if decisive_step(run) is None:
            assert len(run.mistakes) >= 2
            once = [resume(run, n, correct(run, n)) for n in run.mistakes]
            assert all(one.failed and one.mistakes for one in once)


def test_a_successful_run_has_no_decisive_step(runs: list[Run]) -> None:
    assert {decisive_step(run) for run in runs if not run.failed} <= {None}


def test_every_failure_can_be_corrected_step_by_step_into_a_success(failed: list[Run]) -> None:
    for run in failed:
        corrected, rounds = run, 0
        while corrected.mistakes:
            first = corrected.mistakes[0]
            corrected = resume(corrected, first, correct(corrected, first))
            assert not corrected.mistakes or corrected.mistakes[0] > first
            rounds += 1
        assert not corrected.failed
        assert rounds >= 1


def test_what_came_before_a_resumed_step_stays_and_the_run_keeps_its_id(failed: list[Run]) -> None:
    for run in failed:
        step_index = run.mistakes[-1]
        again = resume(run, step_index, correct(run, step_index))
        assert again.actions[:step_index] == run.actions[:step_index]
        assert again.actions[step_index] != run.actions[step_index]
        assert (again.trajectory_id, again.task, again.conditions) == (run.trajectory_id, run.task, run.conditions)
        kept = wire(run).splitlines()[:step_index]
        assert wire(again).splitlines()[:step_index] == kept


def test_a_correction_can_be_taken_back(failed: list[Run]) -> None:
    for run in failed:
        for step_index in run.mistakes:
            corrected = resume(run, step_index, correct(run, step_index))
            assert resume(corrected, step_index, run.actions[step_index]) == run


def test_a_correction_is_what_a_faultless_agent_does_after_what_really_came_before(failed: list[Run]) -> None:
    """It repairs its own step: earlier mistakes stay, and luck at later steps is what it was."""
    for run in failed:
        for step_index in run.mistakes:
            again = resume(run, step_index, correct(run, step_index))
            assert [n for n in again.mistakes if n < step_index] == [n for n in run.mistakes if n < step_index]
            assert step_index not in again.mistakes


def test_a_correction_at_a_faultless_step_changes_nothing(runs: list[Run]) -> None:
    for run in runs[:12]:
        for step_index in range(len(run.actions)):
            if step_index not in run.mistakes:
                assert resume(run, step_index, correct(run, step_index)) == run


def test_a_mistake_forced_into_a_natural_run_is_named_beside_the_others(runs: list[Run]) -> None:
    for run in runs[:15]:
        for step_index in range(0, len(run.actions), 4):
            action = faulty(run, step_index, number=step_index)
            if action is not None:
                again = resume(run, step_index, action)
                assert step_index in again.mistakes
                assert set(run.mistakes) & set(range(step_index)) <= set(again.mistakes)


def test_the_same_number_forces_the_same_mistake(runs: list[Run]) -> None:
    for run in runs[:6]:
        for step_index in range(len(run.actions)):
            assert faulty(run, step_index, 7) == faulty(run, step_index, 7)


def test_a_run_knows_its_turns(runs: list[Run]) -> None:
    for run in runs[:20]:
        found = play.turns(run)
        acted = [action.agent for action in run.actions]
        assert [turn.agent for turn in found] == acted
        assert [turn.number for turn in found] == [acted[:n].count(agent) for n, agent in enumerate(acted)]
        assert play.turn_at(run, len(acted) - 1) == found[-1]


def test_a_mistake_that_is_repaired_later_is_not_decisive() -> None:
    repaired = 0
    for seed in range(20):
        run = faultless("coding-pipeline", seed)
        for action in mistakes(run, 0)[:6]:
            wrong = resume(run, 0, action)
            assert (wrong.mistakes, wrong.failed, decisive_step(wrong)) == ((0,), False, None)
            repaired += len(wrong.actions) > len(run.actions)
    assert repaired > 40


def test_a_run_that_goes_round_in_circles_is_refused_with_its_task() -> None:
    run = faultless("table-desk", 0)
    asked = next(n for n, action in enumerate(run.actions) if isinstance(action.move, desk_moves.Audit))

    class Again(desk_moves.Audit):
        def applied(self, state: object) -> object:  # type: ignore[override]  # it changes nothing
            return state

    circling = replace(run.actions[asked], move=Again(()))
    with pytest.raises(StateError, match=r"'table-desk-0' does not end.*rounds"):
        play._play(run.conditions, (*run.actions[:asked], *[circling] * 99))


@pytest.mark.parametrize("stages", [1, 2], ids=["a stage forgotten", "a stage done twice"])
def test_a_plan_with_another_number_of_stages_is_repaired_when_the_tests_find_it(stages: int) -> None:
    run = faultless("coding-pipeline", 1)
    plan = run.actions[0].move
    assert isinstance(plan, Plan)
    bent: tuple[Stage, ...] = plan.stages[1:] if stages == 1 else (plan.stages[0], *plan.stages)
    again = resume(run, 0, perform(run, 0, Plan(bent)))
    assert again.mistakes[0] == 0
    assert not again.failed


@pytest.mark.parametrize("system", ALL)
def test_conditions_decide_luck_and_nothing_else_does(system: str) -> None:
    for seed in range(4):
        run = natural(system, seed)
        raised = simulate(system, seed, faults=dict.fromkeys(agents(system), run.conditions.mistake_rate))
        assert raised.actions == run.actions
        assert raised.trajectory_id != run.trajectory_id
