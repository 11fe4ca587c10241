"""The kind of a mistake, and how much of a run shows it."""

from dataclasses import replace
from typing import Any

import pytest

from tests.trainer.turns import faultless, mistakes, natural
from trainer.fleet.desk_moves import Plan, State
from trainer.fleet.system import Move
from trainer.simulator import ALL, Run, perform, resume
from trainer.steps.kinds import HELD_OUT, HELD_OUT_SYSTEM, SHOWS_ALONE, Sight, is_held_out, kind_of, sight_of


def every_kind(system: str) -> set[str]:
    """Return the kinds of all mistakes that can be made in some faultless runs, or were made in natural ones."""
    found = {kind_of(run, n) for run in (natural(system, seed) for seed in range(40)) for n in run.mistakes}
    for seed in range(12):
        run = faultless(system, seed)
        for step_index in range(len(run.actions)):
            wrong = [_with(run, step_index, action.move) for action in mistakes(run, step_index)]
            found |= {kind_of(one, step_index) for one in wrong}
    assert None not in found
    return {kind for kind in found if kind}


def _with(run: Run, step_index: int, move: Move[Any]) -> Run:
    """Return a run with another move at a step, and nothing after it played."""
    made = replace(run.actions[step_index], move=move)
    return replace(run, actions=(*run.actions[:step_index], made, *run.actions[step_index + 1 :]))


def test_a_faultless_step_has_no_kind() -> None:
    run = faultless("table-desk", 3)
    assert [kind_of(run, step_index) for step_index in range(len(run.actions))] == [None] * len(run.actions)


def test_steps_with_a_kind_are_the_mistakes_of_a_run() -> None:
    for seed in range(10):
        run = natural("order-chat", seed)
        assert run.mistakes == tuple(n for n in range(len(run.actions)) if kind_of(run, n) is not None)


def test_a_number_misread_is_another_kind_than_another_number() -> None:
    run = faultless("table-desk", 3)
    step_index = next(n for n, action in enumerate(run.actions) if isinstance(action.move, State))
    stated = run.actions[step_index].move
    assert isinstance(stated, State)
    value = stated.value
    for other, kind in ((value + 1, "State.value.misread"), (value + 1000, "State.value.other")):
        wrong = resume(run, step_index, perform(run, step_index, State(other)))
        assert kind_of(wrong, step_index) == kind


def test_a_kind_names_every_field_that_is_wrong() -> None:
    run = faultless("table-desk", 3)
    plan = run.actions[0].move
    assert isinstance(plan, Plan)
    first = replace(plan.quantities[0], of="Nowhere", column="nothing 2024")
    wrong = _with(run, 0, replace(plan, quantities=(first, *plan.quantities[1:])))
    assert kind_of(wrong, 0) == "Plan.quantities.column+quantities.of"


@pytest.mark.parametrize("system", sorted(HELD_OUT))
def test_what_is_held_out_can_happen_and_has_a_sister_that_is_trained_on(system: str) -> None:
    kinds = every_kind(system)
    for path in HELD_OUT[system]:
        assert any(kind == path or kind.startswith(f"{path}+") for kind in kinds), path
        move = path.partition(".")[0]
        assert any(kind.startswith(f"{move}.") and not is_held_out(system, kind) for kind in kinds), path


def test_a_mistake_of_two_kinds_is_held_out_for_one_of_them() -> None:
    assert is_held_out("order-chat", "Label.carrier+fee.other")
    assert not is_held_out("order-chat", "Label.fee.other")


def test_everything_of_the_held_out_system_is_held_out() -> None:
    assert is_held_out(HELD_OUT_SYSTEM, "Plan.stages.op")
    assert HELD_OUT_SYSTEM not in HELD_OUT
    assert {HELD_OUT_SYSTEM, *HELD_OUT} == set(ALL) == set(SHOWS_ALONE)


def test_a_record_that_forgets_the_change_needs_several_steps_and_one_before_it_does_not() -> None:
    seeds = (natural("order-chat", seed) for seed in range(60))
    run = next(run for run in seeds if any(action.agent == "customer" for action in run.actions))
    changed = next(n for n, action in enumerate(run.actions) if action.agent == "customer")
    assert sight_of(run, changed - 1, "Record.lines.quantity.misread") is Sight.ALONE
    assert sight_of(run, changed + 1, "Record.lines.quantity.misread") is Sight.STEPS


def test_a_plan_contradicts_the_task_and_a_misread_result_what_was_shown() -> None:
    run = faultless("table-desk", 3)
    assert sight_of(run, 0, "Plan.quantities.column") is Sight.ALONE
    assert sight_of(run, 9, "State.value.misread") is Sight.STEPS
