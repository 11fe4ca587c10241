"""What the simulated fleet sends: whole trajectories of the contract, which tell what an observer sees and no more."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from math import ceil

import pytest
from pydantic import ValidationError

from schemas import Outcome, Result, StepEvent, StepKind
from schemas.wire import Line, read_line, read_record
from tests.factories import START
from tests.trainer.turns import faultless, mistakes, natural, wire
from trainer.fleet.emit import PEOPLE
from trainer.simulator import ALL, Run, agents, correct, events, resume, simulate

SEEDS = {"coding-pipeline": range(30), "table-desk": range(80), "order-chat": range(80)}
KINDS = {
    "coding-pipeline": {"plan", "llm", "tool_call", "message", "guardrail"},
    "table-desk": {"plan", "tool_call", "message", "guardrail"},
    "order-chat": {"handoff", "tool_call", "message"},
}
TOOLS = {
    "coding-pipeline": {"run_tests": "tester", "release": "publisher"},
    "table-desk": {"table": "finder", "calculator": "counter"},
    "order-chat": {"stock": "inventory", "reserve": "inventory", "scale": "shipping", "prices": "billing"},
}


@pytest.fixture(scope="module", params=ALL)
def runs(request: pytest.FixtureRequest) -> list[Run]:
    """Return runs of a system at the usual rate."""
    return [natural(request.param, seed) for seed in SEEDS[request.param]]


def sent(run: Run) -> list[StepEvent]:
    """Return the events of a run."""
    return events(run, started_at=START)


def test_every_event_is_read_from_the_wire_as_it_was(runs: list[Run]) -> None:
    for run in runs:
        for number, line in enumerate(wire(run).splitlines()):
            read = read_line(line, number)
            assert isinstance(read, Line), read
            assert read.event == sent(run)[number]
        assert all(isinstance(read, Line) for read in read_record(wire(run), ndjson=True))


def test_events_stand_in_order_and_name_the_one_before(runs: list[Run]) -> None:
    for run in runs:
        found = sent(run)
        ids = [event.event_id for event in found]
        assert [event.step_index for event in found] == list(range(len(run.actions)))
        assert len(set(ids)) == len(ids)
        assert [event.parent_id for event in found] == [None, *ids[:-1]]
        assert {event.trajectory_id for event in found} == {run.trajectory_id}
        assert all(event_id.startswith(run.trajectory_id) for event_id in ids)


def test_ids_of_different_runs_never_meet() -> None:
    runs = [natural(system, seed) for system in ALL for seed in range(20)]
    runs += [simulate("table-desk", 3, attempt=attempt, mistake_rate=rate) for attempt in (1, 2) for rate in (0.1, 0.2)]
    ids = [event.event_id for run in runs for event in sent(run)]
    assert len(set(ids)) == len(ids)


def test_times_go_on_without_a_gap_back(runs: list[Run]) -> None:
    for run in runs:
        now = START
        for event in sent(run):
            assert event.ended_at is not None
            assert now < event.started_at < event.ended_at
            assert event.started_at - now < timedelta(seconds=1)
            assert event.ended_at - event.started_at < timedelta(seconds=7)
            now = event.ended_at
        assert now - START < timedelta(minutes=5)


def test_only_the_last_event_is_final_and_has_the_outcome(runs: list[Run]) -> None:
    for run in runs:
        found = sent(run)
        assert [event.final for event in found] == [False] * (len(found) - 1) + [True]
        assert [event.outcome for event in found] == [None] * (len(found) - 1) + [run.outcome]
        assert run.outcome.result in {Result.SUCCESS, Result.FAILURE}


def test_an_action_that_stands_twice_is_final_once() -> None:
    run = natural("table-desk", 0)
    found = sent(replace(run, actions=(*run.actions, run.actions[-1])))
    assert [event.final for event in found] == [False] * len(run.actions) + [True]
    assert [event.outcome is None for event in found] == [True] * len(run.actions) + [False]


def test_the_task_stands_on_the_first_event_and_its_id_on_all(runs: list[Run]) -> None:
    for run in runs:
        found = sent(run)
        assert [event.task for event in found] == [run.task.text] + [None] * (len(found) - 1)
        assert {event.task_id for event in found} == {f"{run.system}-{run.seed}"}
        assert len(run.task.text) > 60


def test_who_acted_and_in_which_version_is_what_was_told(runs: list[Run]) -> None:
    run = runs[0]
    agent = run.actions[0].agent
    found = events(run, started_at=START, agent_versions={agent: "7"}, system_version="2", tenant="acme")
    assert {event.agent_version for event in found if event.agent == agent} == {"7"}
    assert {event.agent_version for event in found if event.agent != agent} == {"1"}
    assert {(event.system, event.system_version, event.tenant) for event in found} == {(run.system, "2", "acme")}
    assert {(event.system_version, event.tenant) for event in sent(run)} == {("1", "default")}


def test_the_agents_of_a_system_are_those_that_act_with_their_roles(runs: list[Run]) -> None:
    known = agents(runs[0].system)
    acted = {event.agent: event.agent_role for run in runs for event in sent(run)}
    assert acted == dict(known)
    assert len(set(known.values())) >= len(known) - 1
    assert all(len(role) > 8 for role in known.values())


def test_kinds_of_steps_and_tools_are_those_of_their_system(runs: list[Run]) -> None:
    system = runs[0].system
    found = [event for run in runs for event in sent(run)]
    assert {event.kind.value for event in found} == KINDS[system]
    assert {event.tool.name for event in found if event.tool} == set(TOOLS[system])
    for event in found:
        assert (event.tool is not None) == (event.kind is StepKind.TOOL_CALL)
        if event.tool:
            assert event.agent.startswith(TOOLS[system][event.tool.name])
            assert event.tool.arguments
            assert (event.tool.result is None) == (event.tool.error is not None)
            assert event.error_type == ("ToolError" if event.tool.error else None)
        else:
            assert event.error_type is None


def test_a_step_has_something_to_say_and_says_it_shortly(runs: list[Run]) -> None:
    for run in runs:
        for event in sent(run):
            assert 0 < len(event.content) < 3_000
            assert event.content == event.content.strip()
            assert not re.search(r"\{\w*\}", re.sub(r"```.*?```", "", event.content, flags=re.DOTALL)), "an open blank"
            assert "None" not in event.content
            assert not event.truncated
        assert len(wire(run)) < 40_000


def test_a_model_is_billed_for_all_that_was_said_before_and_people_are_not(runs: list[Run]) -> None:
    for run in runs:
        read = len(run.task.text)
        for event in sent(run):
            if event.agent in PEOPLE:
                assert event.usage is None
            else:
                assert event.usage is not None
                assert event.usage.input_tokens == 160 + ceil(read / 4)
                assert event.usage.output_tokens == ceil(len(event.content) / 4)
                assert event.usage.model == "simulated"
            read += len(event.content)
            read += len(event.tool.model_dump_json(exclude_none=True)) if event.tool else 0
        assert read < 20_000


def test_nothing_but_the_outcome_depends_on_what_went_wrong(runs: list[Run]) -> None:
    for run in runs:
        told = wire(run).splitlines()
        blind = replace(run, mistakes=(), outcome=Outcome(result=Result.UNKNOWN))
        assert wire(replace(run, mistakes=())).splitlines() == told
        assert wire(blind).splitlines()[:-1] == told[:-1]
        last, other = (json.loads(lines[-1]) for lines in (told, wire(blind).splitlines()))
        assert {**last, "outcome": None} == {**other, "outcome": None}
        assert all(event.attributes == {} and event.input is None for event in sent(run))


def vocabulary(runs: list[Run]) -> set[str]:
    """Return every word of the runs' events, but for their outcomes and their numbers."""
    found: set[str] = set()
    for run in runs:
        for event in sent(replace(run, outcome=Outcome(result=Result.UNKNOWN))):
            found.update(re.findall(r"[^\W\d]+", event.model_dump_json().lower()))
    return found


TELLTALES = (
    *("mistake", "mistaken", "faulty", "fault", "slip", "inject", "injected", "decisive", "culprit", "blame"),
    *("counterfactual", "corrupted", "sabotage", "ground_truth", "label", "perturbed", "mutation"),
)


def test_no_word_of_ours_for_mistakes_is_in_any_event(runs: list[Run]) -> None:
    told = vocabulary(runs)
    allowed = {"label", "ground_truth"}  # a parcel's label; the outcome's empty field
    assert told & set(TELLTALES) <= allowed


def test_a_run_with_a_mistake_has_no_word_of_failing_that_a_right_run_has_not(runs: list[Run]) -> None:
    """It has words of sending work back, which repair a mistake or are one; a tool may refuse what isn't there."""
    system = runs[0].system
    right = vocabulary([faultless(system, seed) for seed in range(60)])
    steps = [(run, n) for run in (faultless(system, seed) for seed in range(4)) for n in range(len(run.actions))]
    wrong = vocabulary([resume(run, n, action) for run, n in steps for action in mistakes(run, n)[::3]])
    failing = r"wrong|err|bug|bad|invalid|fail|broke|mis|oops|sorry|false|unfortunat"
    assert {word for word in wrong - right if re.search(failing, word)} <= {"toolerror"}


def test_the_truth_of_a_failed_answer_is_told_with_the_outcome_alone() -> None:
    hidden = 0
    for seed in range(40):
        run = simulate("table-desk", seed, mistake_rate=0.0, faults={"writer": 9.0})
        if run.failed:
            truth = str(run.outcome.ground_truth)
            assert not re.search(rf"(?<!\d){truth}(?!\d)", str(run.outcome.reason))
            if run.actions[-1].move != correct(run, len(run.actions) - 1).move:
                assert not re.search(rf"(?<![\d-]){truth}(?!\d)", run.actions[-1].content)
                hidden += 1
    assert hidden >= 20


def test_a_run_sent_at_another_time_differs_in_its_times_alone(runs: list[Run]) -> None:
    later = START + timedelta(days=3, seconds=7)
    for run in runs[:5]:
        for one, other in zip(sent(run), events(run, started_at=later), strict=True):
            assert other.started_at - one.started_at == later - START
            moved = {"started_at": one.started_at, "ended_at": one.ended_at}
            assert other.model_copy(update=moved) == one


def test_a_start_in_another_zone_is_the_same_instant_and_one_without_a_zone_is_refused() -> None:
    run = natural("table-desk", 0)
    there = START.astimezone(timezone(timedelta(hours=5)))
    assert wire(run, there) == wire(run, START)
    with pytest.raises(ValidationError, match="timezone"):
        wire(run, datetime(2026, 3, 1, 12))  # noqa: DTZ001 - this is what is refused
    assert datetime(2026, 3, 1, 12, tzinfo=UTC) == START
