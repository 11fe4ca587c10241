"""`agentracer spectrum`: the runs of one task beside each other."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from ops.query_runs import TaskStep
from ops.spectrum import ROWS_SHOWN, Comparison, Least, comparison, least
from schemas import Result, RouteReason, Routing, StepEvent, StepKind, ToolUse
from schemas.errors import AgentracerError, SettingsError, StoreUnavailableError
from streams.sink import Store
from tests.factories import START, outcome, step, trajectory
from tests.ops.processes import invoke, json_of
from tests.stores import emptied, own_store, put_trajectory
from tracer.methods.spectrum import LEAST_FAILED, LEAST_PASSED

FAILURE = Routing(reason=RouteReason.FAILURE)
BROKEN = ToolUse(name="search", error="timed out")


def done(name: str, agent: str, *, failed: bool | None, position: int = 0, **fields: Any) -> TaskStep:
    """Return one step of a run; None: nobody knows how it ended."""
    of = TaskStep(
        trajectory_id=name,
        opened_at=START,
        tenant="default",
        system="shop",
        is_failed=failed is True,
        is_passed=failed is False,
        position=position,
        event_id=f"{name}-{position}",
        agent=agent,
        kind="message",
        tool_name=None,
        has_tool_error=False,
        error_type=None,
    )
    return of._replace(**fields)


def runs(failed: int, passed: int, **fields: Any) -> list[TaskStep]:
    """Return runs of one step; in those that failed it is `fields`."""
    return [
        *(done(f"f{number}", "planner", failed=True, **fields) for number in range(failed)),
        *(done(f"p{number}", "planner", failed=False) for number in range(passed)),
    ]


def shown(found: Comparison) -> str:
    file = io.StringIO()
    Console(file=file, width=200, color_system=None).print(found.view())
    return " ".join(file.getvalue().split())


def test_the_action_that_only_failed_runs_have_comes_first() -> None:
    found = comparison("buy", runs(3, 2, tool_name="search", has_tool_error=True, kind="tool_call"))
    first, second = found.as_json()["actions"]
    assert first == {
        "agent": "planner",
        "kind": StepKind.TOOL_CALL,
        "tool": "search",
        "error": "search failed",
        "suspiciousness": 1.0,
        "failed": 3,
        "passed": 0,
    }
    assert (second["tool"], second["suspiciousness"], second["passed"]) == (None, 0.0, 2)
    (agent,) = found.as_json()["agents"]
    assert (agent["agent"], agent["failed"], agent["passed"]) == ("planner", 3, 2)
    said = shown(found)
    assert "task buy of system shop: 3 failed and 2 passed runs" in said
    assert said.index("planner tool_call search search failed 1.000 3 0") < said.index("planner message - - 0.000 0 2")


def test_runs_whose_end_nobody_knows_are_left_out_and_counted() -> None:
    found = comparison("buy", [*runs(2, 2), done("u", "stranger", failed=None)])
    assert found.left_out == 1
    assert [one["agent"] for one in found.as_json()["agents"]] == ["planner"]
    assert "(1 of unknown outcome left out)" in shown(found)


def test_the_steps_of_one_run_count_once_and_runs_that_share_an_id_are_two() -> None:
    twice = [done("f0", "planner", failed=True, position=1), *runs(2, 2)]
    assert comparison("buy", twice).failed == 2
    later = [one._replace(opened_at=START.replace(hour=13)) for one in runs(1, 0)]
    assert comparison("buy", [*later, *runs(1, 2)]).failed == 2


@pytest.mark.parametrize(("failed", "passed"), [(1, 5), (5, 1), (0, 5), (5, 0)])
def test_too_few_runs_say_nothing_but_how_many_it_takes(failed: int, passed: int) -> None:
    found = comparison("buy", runs(failed, passed))
    assert found.as_json()["abstained"]
    assert (found.as_json()["agents"], found.as_json()["actions"]) == ([], [])
    assert f"{failed} failed and {passed} passed runs; too few to tell: it takes 2 failed and 2 passed" in shown(found)


def test_how_many_it_takes_is_the_methods_unless_it_is_said() -> None:
    assert least(None, None) == (LEAST_FAILED, LEAST_PASSED)
    assert least(1, None) == (1, LEAST_PASSED)
    assert least(None, 0) == (LEAST_FAILED, 0)
    assert not comparison("buy", runs(1, 1), Least(1, 1)).as_json()["abstained"]


def test_of_very_many_actions_a_person_sees_the_first_and_a_machine_all() -> None:
    many = [
        done(f"f{number}", f"agent-{number}-{place}", failed=True, position=place)
        for number in range(2)
        for place in range(ROWS_SHOWN)
    ]
    found = comparison("buy", [*many, *runs(0, 2)])
    assert len(found.as_json()["actions"]) == 2 * ROWS_SHOWN + 1
    assert f"and {ROWS_SHOWN + 1} more actions; --json has them all" in shown(found)


def test_what_a_fleet_named_is_shown_as_text() -> None:
    found = comparison("[red]buy[/nope]", [one._replace(agent="\x9b31m[/red]") for one in runs(2, 2)])
    assert "task [red]buy[/nope]" in shown(found)
    assert "\\x9b31m[/red]" in shown(found)
    assert "\x9b" not in shown(found)


# ---- on a store ----


@pytest.fixture(scope="module")
def shared(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def store(shared: Store) -> Store:
    return emptied(shared)


@pytest.fixture
def at(store: Store) -> dict[str, str]:
    return {"AGENTRACER_CLICKHOUSE_URL": f"http://{store.address}/{store.database}"}


def put_run(store: Store, name: str, *steps: StepEvent, failed: bool, **fields: Any) -> None:
    own = [of.model_copy(update={"trajectory_id": name, "event_id": f"{name}-{at}"}) for at, of in enumerate(steps)]
    ended = {"outcome": outcome(Result.FAILURE if failed else Result.SUCCESS), "routing": FAILURE if failed else None}
    put_trajectory(store, trajectory(own, **{"task_id": "buy"} | ended | fields), times=2)


def put_runs(store: Store, **fields: Any) -> None:
    """Put three runs that failed at the search, and two that passed."""
    plan, write = step(agent="planner"), step(agent="writer")
    search = step(agent="searcher", kind=StepKind.TOOL_CALL)
    for number in range(3):
        bad = search.model_copy(update={"tool": BROKEN})
        put_run(store, f"bad-{number}", plan, bad, write, failed=True, **fields)
    for number in range(2):
        well = search.model_copy(update={"tool": ToolUse(name="search")})
        put_run(store, f"good-{number}", plan, well, write, failed=False, **fields)


def test_the_command_ranks_what_failed_runs_have_in_common(store: Store, at: dict[str, str]) -> None:
    put_runs(store)
    put_run(store, "elsewhere", step(agent="stranger"), failed=True, task_id="sell")
    found = json_of("spectrum", "buy", **at)
    assert (found["failed"], found["passed"], found["abstained"]) == (3, 2, False)
    first = found["actions"][0]
    assert (first["agent"], first["tool"], first["error"]) == ("searcher", "search", "search failed")
    assert (first["suspiciousness"], first["failed"], first["passed"]) == (1.0, 3, 0)
    assert {one["agent"] for one in found["agents"]} == {"planner", "searcher", "writer"}
    printed = " ".join(invoke("spectrum", "buy", **at).stdout.split())
    assert "searcher tool_call search search failed 1.000 3 0" in printed


def test_too_few_runs_are_no_error(store: Store, at: dict[str, str]) -> None:
    put_runs(store)
    result = invoke("spectrum", "buy", "--least-passed", "3", **at)
    assert result.exit_code == 0
    assert "3 failed and 2 passed runs; too few to tell: it takes 2 failed and 3 passed" in " ".join(
        result.stdout.split()
    )
    assert json_of("spectrum", "buy", "--limit", "1", **at)["abstained"]


def test_runs_of_two_systems_are_not_compared(store: Store, at: dict[str, str]) -> None:
    put_runs(store)
    put_run(store, "banks", step(system="bank"), failed=True, system="bank")
    error = invoke("spectrum", "buy", **at).exception
    assert isinstance(error, SettingsError)
    assert "'bank'" in str(error)
    assert "--system" in str(error)
    assert json_of("spectrum", "buy", "--system", "shop", **at)["failed"] == 3


def test_a_task_that_nobody_ran_is_named(store: Store, at: dict[str, str]) -> None:
    put_runs(store)
    for arguments in (("nothing",), ("buy", "--system", "bank"), ("buy", "--since", "1")):
        error = invoke("spectrum", *arguments, **at).exception
        assert isinstance(error, AgentracerError)
        assert repr(arguments[0]) in str(error)


def test_a_store_that_is_away_is_said(at: dict[str, str]) -> None:
    error = invoke("spectrum", "buy", "--clickhouse", "http://127.0.0.1:1/x").exception
    assert isinstance(error, StoreUnavailableError)
