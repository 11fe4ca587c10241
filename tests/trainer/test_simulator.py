"""The simulated fleet: really executed, really checked, and played again from any step."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pytest

from schemas import Result, StepEvent
from schemas.errors import SettingsError
from tests.factories import START
from trainer import simulator
from trainer.fleet import chat_moves, desk_moves, pipeline_moves
from trainer.simulator import ALL, Run, correct, decisive_step, events, faulty, fleet, perform, resume, simulate

SEEDS = range(24)


def wire(run: Run) -> bytes:
    """Return a run's events as bytes."""
    return b"\n".join(event.model_dump_json().encode() for event in events(run, started_at=START))


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Return runs of every system."""
    return [simulate(system, seed) for system in ALL for seed in SEEDS]


@pytest.fixture(scope="module")
def labelled(runs: list[Run]) -> list[tuple[Run, int]]:
    """Return the failed runs that have a decisive step, with it."""
    found = ((run, decisive_step(run)) for run in runs if run.failed)
    return [(run, step) for run, step in found if step is not None]


def test_there_are_three_systems_of_different_shape() -> None:
    assert ALL == ("coding-pipeline", "table-desk", "order-chat")
    shapes = [set(simulator.agents(system)) for system in ALL]
    assert all(4 <= len(shape) <= 8 for shape in shapes)


def test_the_same_seeds_give_the_same_bytes(runs: list[Run]) -> None:
    for run in runs:
        assert wire(simulate(run.system, run.seed)) == wire(run)


def test_another_process_with_another_hash_seed_gives_the_same_bytes() -> None:
    code = (
        "from hashlib import sha256; from datetime import datetime, UTC; from trainer.simulator import *\n"
        "runs = list(fleet(9, 5)); start = datetime(2026, 3, 1, 12, tzinfo=UTC)\n"
        "lines = [e.model_dump_json() for r in runs for e in events(r, started_at=start)]\n"
        "print(sha256('\\n'.join(lines).encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True
    )
    here = sha256(b"\n".join(wire(run) for run in fleet(9, 5))).hexdigest()
    assert done.stdout.strip() == here


def test_without_mistakes_every_run_succeeds() -> None:
    for system in ALL:
        for seed in range(30):
            run = simulate(system, seed, mistake_rate=0.0)
            assert run.outcome.result is Result.SUCCESS, (system, seed, run.outcome)
            assert run.mistakes == ()


def test_runs_have_from_six_to_twenty_five_steps_and_several_agents(runs: list[Run]) -> None:
    for run in runs:
        assert 6 <= len(run.actions) <= 25
        assert len({action.agent for action in run.actions}) >= 4
    for system in ALL:
        assert len({len(run.actions) for run in runs if run.system == system}) >= 5


def test_every_failed_run_holds_a_mistake_and_many_a_success_does_too(runs: list[Run]) -> None:
    assert all(run.mistakes for run in runs if run.failed)
    for system in ALL:
        assert sum(bool(run.mistakes) for run in runs if run.system == system and not run.failed) >= 3


def test_a_run_resumed_with_its_own_action_is_the_same_run(runs: list[Run]) -> None:
    for run in runs[::4]:
        for step_index, action in enumerate(run.actions):
            assert resume(run, step_index, action) == run


def test_a_correction_can_be_taken_back(labelled: list[tuple[Run, int]]) -> None:
    for run, step_index in labelled:
        corrected = resume(run, step_index, correct(run, step_index))
        assert corrected != run
        assert resume(corrected, step_index, run.actions[step_index]) == run


def test_correcting_the_decisive_step_succeeds_and_correcting_an_earlier_one_does_not(
    labelled: list[tuple[Run, int]],
) -> None:
    assert len(labelled) >= 20
    for run, step_index in labelled:
        assert step_index in run.mistakes
        assert not resume(run, step_index, correct(run, step_index)).failed
        for earlier in range(step_index):
            assert resume(run, earlier, correct(run, earlier)).failed


def test_a_step_is_a_mistake_just_where_its_correction_differs(runs: list[Run]) -> None:
    for run in runs[::3]:
        differing = [n for n, action in enumerate(run.actions) if correct(run, n).move != action.move]
        assert tuple(differing) == run.mistakes


def test_a_successful_run_has_no_decisive_step(runs: list[Run]) -> None:
    assert {decisive_step(run) for run in runs if not run.failed} == {None}


def test_what_came_before_the_resumed_step_stays(labelled: list[tuple[Run, int]]) -> None:
    for run, step_index in labelled:
        again = resume(run, step_index, correct(run, step_index))
        assert again.actions[:step_index] == run.actions[:step_index]
        assert again.trajectory_id == run.trajectory_id


def test_every_mistake_can_be_forced_on_a_faultless_run_and_corrected_again() -> None:
    for system in ALL:
        run = simulate(system, 3, mistake_rate=0.0)
        forced = [(n, faulty(run, n, number=number)) for n in range(len(run.actions)) for number in range(3)]
        turned = [resume(run, n, action) for n, action in forced if action is not None]
        assert sum(one.failed for one in turned) >= 2
        for one in turned:
            assert len(one.mistakes) == 1
            assert resume(one, one.mistakes[0], correct(one, one.mistakes[0])) == run


def test_a_tampered_answer_fails() -> None:
    run = simulate("table-desk", 1, mistake_rate=0.0)
    move = run.actions[-1].move
    assert isinstance(move, desk_moves.Answer)
    last = len(run.actions) - 1
    tampered = resume(run, last, perform(run, last, replace(move, value=move.value + 1)))
    assert tampered.failed
    assert tampered.outcome.ground_truth == str(move.value)


def test_a_tampered_program_fails_in_the_acceptance_run() -> None:
    run = simulate("coding-pipeline", 1, mistake_rate=0.0)
    step_index = next(n for n, action in enumerate(run.actions) if isinstance(action.move, pipeline_moves.Publish))
    move = run.actions[step_index].move
    assert isinstance(move, pipeline_moves.Publish)
    tampered = resume(run, step_index, perform(run, step_index, replace(move, scale=move.scale * 10)))
    assert tampered.failed
    assert "acceptance cases fail" in str(tampered.outcome.reason)


def test_a_tampered_invoice_fails_on_the_books() -> None:
    run = simulate("order-chat", 1, mistake_rate=0.0)
    step_index = next(n for n, action in enumerate(run.actions) if isinstance(action.move, chat_moves.Invoice))
    move = run.actions[step_index].move
    assert isinstance(move, chat_moves.Invoice)
    tampered = resume(run, step_index, perform(run, step_index, replace(move, off=move.off + 1)))
    assert tampered.outcome.reason == "wrong on the books: total"


def test_the_reserve_tool_refuses_what_is_not_there_and_inventory_tries_again() -> None:
    run = simulate("order-chat", 1, mistake_rate=0.0)
    step_index = next(n for n, action in enumerate(run.actions) if isinstance(action.move, chat_moves.Reserve))
    move = run.actions[step_index].move
    assert isinstance(move, chat_moves.Reserve)
    greedy = replace(move, lines=(replace(move.lines[0], quantity=10_000), *move.lines[1:]))
    again = resume(run, step_index, perform(run, step_index, greedy))
    tool = again.actions[step_index].tool
    assert tool is not None
    assert tool.result is None
    assert "in stock" in str(tool.error)
    assert again.actions[step_index + 1].move == move
    assert not again.failed


def test_a_ticket_handed_to_the_wrong_agent_comes_back_and_does_no_harm() -> None:
    run = simulate("order-chat", 1, mistake_rate=0.0)
    move = run.actions[0].move
    assert isinstance(move, chat_moves.Open)
    astray = resume(run, 0, perform(run, 0, replace(move, to="billing")))
    assert [action.agent for action in astray.actions[:3]] == ["triage", "billing", "sales"]
    assert astray.mistakes == (0,)
    assert not astray.failed


def at(run: Run, kind: type) -> int | None:
    """Return the first step whose move is of that kind."""
    return next((n for n, action in enumerate(run.actions) if isinstance(action.move, kind)), None)


def test_a_misread_figure_is_caught_by_the_auditor_or_used_until_it_shows_at_the_end() -> None:
    failures = 0
    for seed in range(20):
        run = simulate("table-desk", seed, mistake_rate=0.0)
        read, audit = at(run, desk_moves.Report), at(run, desk_moves.Audit)
        if read is None or audit is None:
            continue
        caught = resume(run, read, perform(run, read, desk_moves.Report(987_654_321)))
        assert (caught.mistakes, caught.failed) == ((read,), False)
        wrong = resume(caught, audit, perform(caught, audit, desk_moves.Audit(())))
        assert wrong.mistakes == (read, audit)
        assert any("987654321" in str(action.tool) for action in wrong.actions[audit:])
        failures += wrong.failed
        assert decisive_step(wrong) == (read if wrong.failed else None)
    assert failures >= 8


def test_another_attempt_is_the_same_task_with_other_luck() -> None:
    for system in ALL:
        attempts = [simulate(system, 2, attempt=attempt) for attempt in range(4)]
        assert len({run.task for run in attempts}) == 1
        assert len({tuple(action.content for action in run.actions) for run in attempts}) == 4
        assert len({run.trajectory_id for run in attempts}) == 4


def test_an_agent_with_a_rate_of_zero_never_errs_and_one_with_a_high_rate_errs_more() -> None:
    def mistakes(rate: float) -> int:
        found = (simulate("order-chat", seed, faults={"billing": rate}) for seed in range(60))
        return sum(run.actions[n].agent == "billing" for run in found for n in run.mistakes)

    assert mistakes(0.0) == 0
    assert mistakes(0.9) > 2 * mistakes(0.3) > 0


def test_a_fleet_mixes_the_systems_and_a_longer_one_goes_on_where_a_shorter_one_ends() -> None:
    longer = list(fleet(18, 4))
    assert list(fleet(7, 4)) == longer[:7]
    assert {run.system for run in longer} == set(ALL)
    assert len({run.trajectory_id for run in longer}) == 18
    assert {run.system for run in fleet(4, 4, systems=["order-chat"])} == {"order-chat"}


def _refused() -> Iterator[tuple[str, object]]:
    run = simulate("table-desk", 0)
    yield "no simulated system 'shop'", lambda: simulate("shop", 0)
    yield "has no agent 'clerk'", lambda: simulate("table-desk", 0, faults={"clerk": 1.0})
    yield "must not be negative", lambda: simulate("table-desk", 0, mistake_rate=-0.1)
    yield "step 99 is not in", lambda: correct(run, 99)
    yield "step -1 is not in", lambda: resume(run, -1, run.actions[0])
    yield "step 1 is the turn of 'finder-1', not of 'planner'", lambda: resume(run, 1, run.actions[0])


def test_what_cannot_be_played_is_refused_with_a_reason() -> None:
    for reason, attempt in _refused():
        assert callable(attempt)
        with pytest.raises(SettingsError, match=reason):
            attempt()


def test_events_are_a_whole_trajectory_in_order(runs: list[Run]) -> None:
    for run in runs:
        sent = events(run, started_at=START, agent_versions={"planner": "7"}, system_version="2", tenant="acme")
        assert [event.step_index for event in sent] == list(range(len(run.actions)))
        assert [event.event_id for event in sent] == [f"{run.trajectory_id}-{n}" for n in range(len(sent))]
        assert [event.parent_id for event in sent] == [None, *(event.event_id for event in sent[:-1])]
        assert [event.final for event in sent] == [False] * (len(sent) - 1) + [True]
        assert [event.outcome for event in sent] == [None] * (len(sent) - 1) + [run.outcome]
        assert [event.task for event in sent] == [run.task.text] + [None] * (len(sent) - 1)
        times = [time for event in sent for time in (event.started_at, event.ended_at)]
        assert times == sorted(time for time in times if time is not None)
        assert sent[0].started_at > START
        assert {event.agent_version for event in sent if event.agent == "planner"} <= {"7"}
        assert {(event.system, event.system_version, event.tenant) for event in sent} == {(run.system, "2", "acme")}


def test_events_say_nothing_of_where_an_agent_went_wrong(runs: list[Run]) -> None:
    for run in runs:
        text = wire(run).decode().lower()
        assert not any(word in text for word in ("mistake", "decisive", "faulty", "slip"))
        assert all(event.attributes == {} for event in events(run, started_at=START))
        assert wire(replace(run, mistakes=())) == wire(run)


def test_events_can_be_read_from_the_wire(runs: list[Run]) -> None:
    for run in runs[::6]:
        for line in wire(run).splitlines():
            event = StepEvent.model_validate_json(line)
            assert event.model_dump_json().encode() == line
            assert json.loads(line)["content"]


def test_an_agent_reads_all_that_was_said_before_it(runs: list[Run]) -> None:
    for run in runs[::6]:
        spent = [event.usage for event in events(run, started_at=START) if event.usage]
        counts = [usage.input_tokens or 0 for usage in spent]
        assert counts == sorted(counts)
        assert counts[-1] > counts[0] > 160
        assert all(usage.output_tokens for usage in spent)
