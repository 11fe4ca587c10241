"""The simulated fleet from outside: seeds, rates, attempts, bounds, mixes, and the same bytes on every machine."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise

import pytest

from schemas import Result
from schemas.errors import SettingsError
from tests.trainer.turns import natural, said, wire
from trainer.fleet import play
from trainer.simulator import ALL, MISTAKE_RATE, agents, correct, fleet, perform, resume, simulate

LENGTHS = {"coding-pipeline": (11, 24), "table-desk": (10, 25), "order-chat": (9, 25)}
"""The steps of a run, the faultless ones at least and the worst ones at most."""

BY_HAND = {
    "coding-pipeline": ("planner", "coder", "tester", "reviewer", "publisher"),
    "table-desk": ("planner", "finder-1", "finder-2", "auditor", "counter", "writer"),
    "order-chat": ("triage", "sales", "inventory", "shipping", "billing", "customer", "warehouse"),
}


def test_there_are_three_systems_with_agents_of_their_own() -> None:
    assert tuple(BY_HAND) == ALL
    assert {system: tuple(agents(system)) for system in ALL} == BY_HAND


@pytest.mark.parametrize("system", ALL)
def test_the_same_seed_gives_the_same_bytes(system: str) -> None:
    for seed in range(24):
        assert wire(simulate(system, seed)) == wire(natural(system, seed))


HERE_AND_THERE = """
from hashlib import sha256
from tests.trainer.turns import wire
from trainer.simulator import correct, decisive_step, faulty, fleet, resume
runs = list(fleet(12, 5))
steps = [decisive_step(run) for run in runs]
runs += [resume(run, n, correct(run, n)) for run, n in zip(runs, steps) if n is not None]
forced = [(run, n, faulty(run, n, 3)) for run in runs[:4] for n in range(len(run.actions))]
runs += [resume(run, n, action) for run, n, action in forced if action]
told = [wire(run) + repr(run.mistakes).encode() for run in runs]
digest = sha256(b"".join(told) + repr(steps).encode()).hexdigest()
"""


def test_other_processes_with_other_hash_seeds_play_label_and_resume_to_the_same_bytes() -> None:
    here: dict[str, str] = {}
    exec(HERE_AND_THERE, here)
    for seed in ("0", "77"):
        done = subprocess.run(
            [sys.executable, "-c", HERE_AND_THERE + "print(digest)"],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here["digest"]


@pytest.mark.parametrize(("system", "count"), [("coding-pipeline", 100), ("table-desk", 300), ("order-chat", 300)])
def test_without_mistakes_every_run_succeeds(system: str, count: int) -> None:
    least, most = LENGTHS[system]
    for seed in range(10_000, 10_000 + count):
        run = simulate(system, seed, mistake_rate=0.0)
        assert run.outcome.result is Result.SUCCESS, (system, seed, run.outcome)
        assert run.outcome.score == 1.0
        assert (run.mistakes, run.failed) == ((), False)
        assert least <= len(run.actions) <= most


@pytest.mark.parametrize("rate", [1.0, 100.0])
@pytest.mark.parametrize(("system", "count"), [("coding-pipeline", 25), ("table-desk", 150), ("order-chat", 150)])
def test_however_often_agents_err_a_run_comes_to_an_end(system: str, count: int, rate: float) -> None:
    least, most = LENGTHS[system]
    runs = [simulate(system, seed, mistake_rate=rate) for seed in range(count)]
    assert all(least <= len(run.actions) <= most for run in runs)
    assert all(run.mistakes for run in runs)
    assert sum(run.failed for run in runs) > 0.8 * count


@pytest.mark.parametrize(("system", "agent"), [(system, agent) for system in ALL for agent in BY_HAND[system]])
def test_however_often_one_agent_errs_a_run_comes_to_an_end_and_the_others_do_not(system: str, agent: str) -> None:
    for seed in range(30 if system != "coding-pipeline" else 6):
        run = simulate(system, seed, mistake_rate=0.0, faults={agent: 100.0})
        assert len(run.actions) <= LENGTHS[system][1]
        assert {run.actions[n].agent for n in run.mistakes} <= {agent}
        assert bool(run.mistakes) == (agent not in {"customer", "warehouse"})


HANDED_ON = {
    "coding-pipeline": {
        "planner": {"coder"},
        "coder": {"coder", "tester", "reviewer"},
        "tester": {"tester", "coder", "reviewer"},
        "reviewer": {"coder", "publisher"},
        "publisher": {"publisher"},
    },
    "table-desk": {
        "planner": {"finder-1"},
        "finder-1": {"finder-1", "finder-2", "auditor", "counter"},
        "finder-2": {"finder-1", "finder-2", "auditor", "counter"},
        "auditor": {"finder-1", "finder-2", "counter", "writer"},
        "counter": {"counter", "auditor", "writer"},
        "writer": set(),
    },
    "order-chat": {
        "triage": {"sales", "billing", "shipping", "inventory"},
        "sales": {"customer", "inventory", "billing", "shipping"},
        "customer": {"sales"},
        "inventory": {"inventory", "warehouse", "shipping", "sales"},
        "warehouse": {"inventory"},
        "shipping": {"shipping", "billing", "sales", "inventory"},
        "billing": {"billing", "triage", "sales", "inventory"},
    },
}
"""Who may act after whom."""
FIRST_AND_LAST = {
    "coding-pipeline": ("planner", "publisher"),
    "table-desk": ("planner", "writer"),
    "order-chat": ("triage", "triage"),
}


@pytest.mark.parametrize("system", ALL)
def test_work_is_handed_on_along_the_lines_of_the_system(system: str) -> None:
    met: dict[str, set[str]] = {agent: set() for agent in BY_HAND[system]}
    runs = [natural(system, seed) for seed in range(120 if system != "coding-pipeline" else 60)]
    for run in runs:
        acted = [action.agent for action in run.actions]
        assert (acted[0], acted[-1]) == FIRST_AND_LAST[system]
        for one, other in pairwise(acted):
            met[one].add(other)
    assert met == HANDED_ON[system]


@pytest.mark.parametrize("system", ALL)
def test_no_two_agents_send_work_to_and_fro_for_long(system: str) -> None:
    for rate in (MISTAKE_RATE, 100.0):
        for seed in range(40 if system != "coding-pipeline" else 20):
            acted = [action.agent for action in simulate(system, seed, mistake_rate=rate).actions]
            turns = [agent for n, agent in enumerate(acted) if not n or acted[n - 1] != agent]
            for n in range(len(turns) - 7):
                assert len(set(turns[n : n + 8])) > 2, turns


def test_a_sister_product_that_runs_short_does_not_send_inventory_round_in_circles() -> None:
    """Seeds whose change, misread, asks for more than product and sister together have on the shelf."""
    misread = 0
    for seed in (15883, 16533, 19651, 21752):
        for attempt in range(40):
            run = simulate("order-chat", seed, mistake_rate=0.0, attempt=attempt, faults={"sales": 3.0})
            reserved = [action for action in run.actions if action.tool and action.tool.name == "reserve"]
            assert len(reserved) <= 2
            misread += any("61 x" in action.content for action in run.actions)
    assert misread >= 3


def test_another_attempt_is_the_same_task_with_other_luck() -> None:
    for system in ALL:
        attempts = [simulate(system, 2, attempt=attempt) for attempt in range(4)]
        assert len({run.task for run in attempts}) == 1
        assert len({tuple(action.content for action in run.actions) for run in attempts}) == 4
        assert len({run.trajectory_id for run in attempts}) == 4
        assert attempts[0] == natural(system, 2)


def test_attempts_of_one_task_succeed_and_fail() -> None:
    for system in ALL:
        results = [simulate(system, 3, attempt=attempt).failed for attempt in range(16)]
        assert 0 < sum(results) < 16


def mistakes_of(agent: str, faults: dict[str, float], mistake_rate: float = MISTAKE_RATE) -> int:
    """Return how many mistakes an agent makes in some runs."""
    runs = [simulate("order-chat", seed, faults=faults, mistake_rate=mistake_rate) for seed in range(60)]
    return sum(run.actions[n].agent == agent for run in runs for n in run.mistakes)


def test_an_agent_with_a_rate_of_its_own_errs_by_it_and_the_others_by_the_common_one() -> None:
    assert mistakes_of("billing", {"billing": 0.0}) == 0
    assert mistakes_of("billing", {"billing": 0.9}) > 2 * mistakes_of("billing", {"billing": 0.3}) > 0
    assert mistakes_of("sales", {"billing": 0.9}) == mistakes_of("sales", {})
    assert mistakes_of("billing", {"billing": 0.3}, mistake_rate=0.0) > 0
    assert mistakes_of("sales", {"billing": 0.3}, mistake_rate=0.0) == 0


def test_a_run_says_what_it_follows_from() -> None:
    run = simulate("order-chat", 7, mistake_rate=0.25, attempt=2, faults={"sales": 0.5, "billing": 1})
    assert (run.system, run.seed, run.task.task_id) == ("order-chat", 7, "order-chat-7")
    assert run.conditions.rate("sales") == 0.5
    assert run.conditions.rate("triage") == 0.25
    assert run.trajectory_id.startswith("sim-order-chat-7-")
    swapped = simulate("order-chat", 7, mistake_rate=0.25, attempt=2, faults={"billing": 1, "sales": 0.5})
    assert (swapped, swapped.trajectory_id) == (run, run.trajectory_id)


def test_equal_runs_have_equal_ids_however_their_rates_are_written() -> None:
    one, other = simulate("order-chat", 1, mistake_rate=0), simulate("order-chat", 1, mistake_rate=0.0)
    assert (one, one.trajectory_id) == (other, other.trajectory_id)
    one, other = (simulate("order-chat", 1, faults={"sales": rate}) for rate in (1, 1.0))
    assert (one, one.trajectory_id) == (other, other.trajectory_id)


def test_ids_differ_where_any_condition_does() -> None:
    runs = [
        simulate("order-chat", 1),
        simulate("order-chat", 2),
        simulate("table-desk", 1),
        simulate("order-chat", 1, attempt=1),
        simulate("order-chat", 1, mistake_rate=0.31),
        simulate("order-chat", 1, faults={"sales": MISTAKE_RATE}),
        simulate("order-chat", 1, faults={"billing": MISTAKE_RATE}),
    ]
    assert len({run.trajectory_id for run in runs}) == len(runs)


def test_a_fleet_mixes_the_systems_and_a_longer_one_goes_on_where_a_shorter_one_ends() -> None:
    longer = list(fleet(40, 4))
    assert list(fleet(7, 4)) == longer[:7]
    counts = [sum(run.system == system for run in longer) for system in ALL]
    assert min(counts) >= 6
    assert len({run.trajectory_id for run in longer}) == 40
    assert list(fleet(0, 4)) == []


def test_fleets_of_other_seeds_have_other_tasks() -> None:
    tasks = [{run.task.task_id for run in fleet(10, seed, systems=["table-desk"])} for seed in range(4)]
    assert len(set.union(*tasks)) == 40


def test_a_fleet_is_of_the_systems_and_rates_that_were_asked_for() -> None:
    assert {run.system for run in fleet(4, 4, systems=["order-chat"])} == {"order-chat"}
    assert not any(run.mistakes for run in fleet(9, 1, mistake_rate=0.0))
    faults = {"order-chat": {"billing": 100.0}}
    for run in fleet(12, 1, mistake_rate=0.0, faults=faults):
        assert bool(run.mistakes) == (run.system == "order-chat")
        assert {run.actions[n].agent for n in run.mistakes} <= {"billing"}


def test_a_fleet_is_a_mix_of_what_simulate_gives() -> None:
    for run in fleet(9, 6):
        assert simulate(run.system, run.seed) == run


NAN = float("nan")
RUN = natural("table-desk", 0)
REFUSED: dict[str, Callable[[], object]] = {
    "no simulated system 'shop'; there are coding-pipeline, table-desk, order-chat": lambda: simulate("shop", 0),
    "no simulated system 'Table-Desk'": lambda: agents("Table-Desk"),
    "'table-desk' has no agent 'clerk'; its agents are planner": lambda: simulate("table-desk", 0, faults={"clerk": 1}),
    "mistake rates -0.1 and None must not be negative": lambda: simulate("table-desk", 0, mistake_rate=-0.1),
    "mistake rates nan and None must not be": lambda: simulate("table-desk", 0, mistake_rate=NAN),
    "mistake rates 0.3 and {'writer': -1} must": lambda: simulate("table-desk", 0, faults={"writer": -1}),
    "mistake rates 0.3 and {'writer': nan} must": lambda: simulate("table-desk", 0, faults={"writer": NAN}),
    "step 99 is not in 'sim-table-desk-0-.*'; name one from 0 to": lambda: correct(RUN, 99),
    "step -1 is not in": lambda: resume(RUN, -1, RUN.actions[0]),
    f"step {len(RUN.actions)} is not in": lambda: perform(RUN, len(RUN.actions), RUN.actions[0].move),
    "step 1 is the turn of 'finder-1', not of 'planner'": lambda: resume(RUN, 1, RUN.actions[0]),
    "a fleet of no systems has no runs": lambda: list(fleet(3, 1, systems=[])),
    "no simulated system 'desk'": lambda: list(fleet(3, 1, systems=["table-desk", "desk"])),
    "no simulated system 'chat'": lambda: list(fleet(3, 1, faults={"chat": {"sales": 1.0}})),
    "'order-chat' has no agent 'writer'": lambda: list(fleet(30, 1, faults={"order-chat": {"writer": 1.0}})),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_played_is_refused_with_a_reason(reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        REFUSED[reason]()


def made_of(value: object) -> Iterator[object]:
    """Return a value and all dataclasses that it is made of."""
    if is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in fields(value):
            yield from made_of(getattr(value, field.name))
    elif isinstance(value, tuple):
        for one in value:
            yield from made_of(one)


@pytest.mark.parametrize("system", ALL)
def test_a_run_and_the_states_between_its_steps_cannot_be_changed(system: str) -> None:
    run = natural(system, 0)
    states = tuple(turn.state for turn in play.turns(run))
    kinds = {type(value) for value in made_of((run, *states))}
    assert len(kinds) >= 12
    assert all(kind.__dataclass_params__.frozen for kind in kinds)  # type: ignore[attr-defined]  # a dataclass has them


def test_playing_on_leaves_every_earlier_state_as_it_was() -> None:
    for system in ALL:
        for seed in range(6):
            run = natural(system, seed)
            before = [repr(turn.state) for turn in play.turns(run)]
            for turn, action in zip(play.turns(run), run.actions, strict=True):
                told = repr(turn.state)
                said(turn.state, action.move)
                action.move.applied(turn.state)
                assert repr(turn.state) == told
            assert [repr(turn.state) for turn in play.turns(run)] == before
