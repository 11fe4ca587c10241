"""Every mistake that an agent of a run may make: it shows, it can be put right, and it leads to an end."""

from collections import Counter
from typing import NamedTuple

import pytest

from tests.trainer.turns import faultless, mistakes, natural
from trainer.fleet.system import Action
from trainer.simulator import ALL, Run, correct, decisive_step, faulty, resume, simulate

SEEDS = {"coding-pipeline": range(6), "table-desk": range(8), "order-chat": range(12)}
"""A mistake in a pipeline's run costs a process, the others next to nothing."""

STEADY = {
    "Run", "Release",  # tools of the pipeline
    "Change", "News", "Check", "Weigh", "Price", "Bounce",  # people and tools of the chat
}  # fmt: skip
"""The moves that leave nothing to be mistaken."""

ERRING = {
    "coding-pipeline": {
        *("Plan", "Write", "Assemble", "WriteTests", "Judge"),
        *("Repair", "Dispute", "Defend", "Review", "Publish"),
    },
    "table-desk": {"Plan", "Query", "Report", "Audit", "Compute", "State", "Verify", "Recount", "Refetch", "Answer"},
    "order-chat": {"Open", "Record", "Reserve", "Label", "Invoice", "Close"},
}  # fmt: skip


def kind(action: Action) -> str:
    """Return what kind of a move an action is."""
    return type(action.move).__name__


def visible(action: Action) -> str:
    """Return what the others see of an action."""
    return f"{action.kind} {action.content} {action.tool!r}"


class Turned(NamedTuple):
    """A faultless run, one of all the mistakes that could be made at a step of it, and what that leads to."""

    run: Run
    step_index: int
    action: Action
    wrong: Run


@pytest.fixture(scope="module", params=ALL)
def turned(request: pytest.FixtureRequest) -> list[Turned]:
    """Return every mistake at every step of some runs of a system."""
    runs = [faultless(request.param, seed) for seed in SEEDS[request.param]]
    made = [(run, n, action) for run in runs for n in range(len(run.actions)) for action in mistakes(run, n)]
    return [Turned(run, n, action, resume(run, n, action)) for run, n, action in made]


def test_a_mistake_is_another_move_of_the_same_agent_and_can_be_seen(turned: list[Turned]) -> None:
    for run, step_index, action, wrong in turned:
        fine = run.actions[step_index]
        assert wrong.actions[step_index] == action
        assert action.agent == fine.agent
        assert action.move != fine.move
        assert visible(action) != visible(fine), (run.trajectory_id, step_index, action)


def test_a_run_with_one_mistake_names_it_and_it_alone(turned: list[Turned]) -> None:
    for _, step_index, _, wrong in turned:
        assert wrong.mistakes == (step_index,)


def test_correcting_a_mistake_gives_the_faultless_run_back(turned: list[Turned]) -> None:
    for run, step_index, _, wrong in turned:
        action = correct(wrong, step_index)
        assert action == run.actions[step_index]
        assert resume(wrong, step_index, action) == run


def test_a_single_mistake_that_fails_the_run_is_its_decisive_step(turned: list[Turned]) -> None:
    failed = [(step_index, wrong) for _, step_index, _, wrong in turned if wrong.failed]
    assert 0.05 * len(turned) < len(failed) < 0.95 * len(turned)
    for step_index, wrong in failed[::3]:
        assert decisive_step(wrong) == step_index


def test_a_single_mistake_leads_to_an_end_within_a_few_more_steps(turned: list[Turned]) -> None:
    for run, _, _, wrong in turned:
        assert len(run.actions) - 1 <= len(wrong.actions) <= len(run.actions) + 9


@pytest.mark.parametrize("system", ALL)
def test_forcing_a_mistake_by_number_finds_each_of_them_and_no_other(system: str) -> None:
    for seed in list(SEEDS[system])[:3]:
        run = faultless(system, seed)
        for step_index in range(len(run.actions)):
            known = {visible(action) for action in mistakes(run, step_index)}
            found = [faulty(run, step_index, number) for number in range(12 * len(known) + 1)]
            assert {visible(action) for action in found if action} <= known
            assert len({visible(action) for action in found if action}) >= 0.7 * len(known)
            assert (None in found) == (not known)


@pytest.mark.parametrize("system", ALL)
def test_every_kind_of_move_is_made_and_just_those_of_people_and_tools_are_never_mistaken(system: str) -> None:
    seen: Counter[str] = Counter()
    erring: Counter[str] = Counter()
    for seed in range(24):
        run = natural(system, seed)
        seen.update(map(kind, run.actions))
        erring.update(kind(action) for n, action in enumerate(run.actions) if n % 3 == seed % 3 and mistakes(run, n))
    assert set(seen) - STEADY <= ERRING[system]
    assert ERRING[system] - set(seen) <= {"Dispute", "Defend"}, "rare, and met by hand in test_pipeline.py"
    assert not set(erring) & STEADY


@pytest.mark.parametrize("system", ALL)
def test_natural_mistakes_come_from_the_same_tables_as_forced_ones(system: str) -> None:
    checked = 0
    for seed in range(20):
        run = natural(system, seed)
        for step_index in run.mistakes:
            assert run.actions[step_index] in mistakes(run, step_index)
            checked += 1
    assert checked >= 10


@pytest.mark.parametrize("system", ["table-desk", "order-chat"])
def test_a_first_step_goes_wrong_as_often_as_the_rate_says(system: str) -> None:
    def wrong(rate: float) -> int:
        return sum(0 in simulate(system, seed, mistake_rate=rate).mistakes for seed in range(400))

    assert 0.7 < wrong(0.2) / wrong(0.1) / 2 < 1.4
    assert wrong(2.0) == 400


def test_what_cannot_be_mistaken_is_none() -> None:
    run = faultless("order-chat", 0)
    for step_index, action in enumerate(run.actions):
        if kind(action) in STEADY:
            assert faulty(run, step_index) is None
