"""The runs that the embedded tracer is trained and scored on."""

import pytest

from tests.trainer.turns import faultless, natural
from trainer.simulator import correct, decisive_step, resume
from trainer.steps.kinds import HELD_OUT_SYSTEM, is_held_out, kind_of
from trainer.steps.runs import COUNTS, SCORED, Split, counts, draw, kinds_in, labelled, trajectory_of

QUICK = [split for split in Split if split is not Split.SHAPE]


@pytest.mark.parametrize("split", QUICK)
def test_the_truth_of_every_run_is_the_first_step_whose_correction_turns_it(split: Split) -> None:
    for found in draw(split, 6):
        run = found.run
        turning = [n for n in run.mistakes if not resume(run, n, correct(run, n)).failed]
        assert found.step_index == turning[0]
        assert found.agent == run.actions[found.step_index].agent
        assert found.kind == kind_of(run, found.step_index)


def test_the_same_seed_gives_the_same_runs_and_a_larger_count_goes_on() -> None:
    assert list(draw(Split.TRAIN, 4, seed=5)) == list(draw(Split.TRAIN, 6, seed=5))[:4]
    assert list(draw(Split.TRAIN, 2, seed=5)) != list(draw(Split.TRAIN, 2, seed=6))


def test_no_task_is_in_two_splits() -> None:
    tasks = {split: {found.run.seed % len(Split) for found in draw(split, 8)} for split in QUICK}
    assert all(len(rests) == 1 for rests in tasks.values())
    assert len(set.union(*tasks.values())) == len(tasks)


@pytest.mark.parametrize("split", [Split.TRAIN, Split.CALIBRATE, Split.SEEDS])
def test_no_mistake_of_a_held_out_kind_is_anywhere_in_what_is_trained_on(split: Split) -> None:
    for found in draw(split, 40):
        assert found.run.system != HELD_OUT_SYSTEM
        assert not any(is_held_out(found.run.system, kind) for kind in kinds_in(found.run))


def test_held_out_kinds_are_decisive_in_the_split_of_kinds() -> None:
    for found in draw(Split.KINDS, 20):
        assert is_held_out(found.run.system, found.kind)
        assert found.run.system != HELD_OUT_SYSTEM


def test_the_split_of_shape_is_the_held_out_system() -> None:
    assert {found.run.system for found in draw(Split.SHAPE, 2)} == {HELD_OUT_SYSTEM}


def test_a_run_that_did_not_fail_or_that_no_single_correction_turns_has_no_label() -> None:
    assert labelled(faultless("table-desk", 1)) is None
    hopeless = [run for run in (natural("table-desk", n) for n in range(80)) if run.failed and not decisive_step(run)]
    assert any(decisive_step(run) is None and labelled(run) is None for run in hopeless)


def test_a_trajectory_says_what_an_observer_saw_and_holds_the_task() -> None:
    found = next(draw(Split.SEEDS, 1))
    trajectory = trajectory_of(found.run)
    assert trajectory.task == found.run.task.text
    assert [step.agent for step in trajectory.steps] == [action.agent for action in found.run.actions]
    assert trajectory.outcome == found.run.outcome


def test_runs_are_counted_by_system_sight_and_kind() -> None:
    runs = list(draw(Split.SEEDS, 9))
    assert sum(counts(runs).values()) == 9
    assert set(counts(runs)) == {(one.run.system, one.sight, one.kind) for one in runs}


def test_what_is_scored_is_neither_trained_nor_calibrated_on() -> None:
    assert set(COUNTS) == set(Split)
    assert not {Split.TRAIN, Split.CALIBRATE} & set(SCORED)
