"""What is read of many runs at a time: failures of a range, their text, past verdicts, the runs of a task."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.query_runs import PAST_VERDICTS, Failure, Past, Range, failures, past_verdicts, task_steps, text_bytes
from schemas import Result, RouteReason, Routing, ToolUse, Trajectory, VerdictPurpose, VerdictStatus
from streams import tables
from streams.rows import verdict_row
from streams.sink import Store
from tests.factories import START, outcome, step
from tests.factories import trajectory as a_trajectory
from tests.factories import verdict as a_verdict
from tests.stores import PLACE, emptied, own_store, put_trajectory, put_verdict

HOUR = timedelta(hours=1)
CLOSED = START + timedelta(minutes=1)
EVER = Range(START - HOUR, START + HOUR)
INJECTION = "' OR 1 = 1 --"


@pytest.fixture(scope="module")
def shared(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def store(shared: Store) -> Store:
    return emptied(shared)


def failed(name: str, **fields: Any) -> Trajectory:
    return a_trajectory([step(name, 0), step(name, 1)], **{"routing": Routing(reason=RouteReason.FAILURE)} | fields)


def ids(found: list[Failure]) -> list[str]:
    return [one.trajectory_id for one in found]


@pytest.mark.parametrize("reason", RouteReason)
def test_whatever_was_routed_failed_but_for_a_sample(store: Store, reason: RouteReason) -> None:
    put_trajectory(store, failed("t", routing=Routing(reason=reason), outcome=None), times=2)
    assert ids(failures(store.client, EVER, "t", "1")) == (["t"] if reason is not RouteReason.SAMPLED else [])


def test_a_range_begins_with_its_beginning_and_ends_before_its_end(store: Store) -> None:
    put_trajectory(store, failed("t"))
    second = timedelta(seconds=1)
    assert ids(failures(store.client, Range(CLOSED, CLOSED + second), "t", "1")) == ["t"]
    assert failures(store.client, Range(CLOSED - second, CLOSED), "t", "1") == []


def test_a_range_may_be_all_of_time(store: Store) -> None:
    put_trajectory(store, failed("t"))
    ever = Range(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    assert ids(failures(store.client, ever, "t", "1")) == ["t"]


def test_the_last_closed_come_first_and_of_a_system_those_alone(store: Store) -> None:
    for number, system in enumerate(("shop", "bank", "shop")):
        put_trajectory(store, failed(f"t{number}", system=system, closed_at=CLOSED + number * timedelta(seconds=1)))
    assert ids(failures(store.client, EVER, "t", "1")) == ["t2", "t1", "t0"]
    assert ids(failures(store.client, EVER._replace(system="shop"), "t", "1")) == ["t2", "t0"]
    assert failures(store.client, EVER._replace(system=INJECTION), INJECTION, INJECTION) == []


def test_only_a_retrace_of_this_tracer_version_and_revision_is_one(store: Store) -> None:
    of = failed("t", revision=2)
    put_trajectory(store, of)
    again = a_verdict(of, purpose=VerdictPurpose.RETRACE, tracer="a", tracer_version="1")
    others: tuple[dict[str, object], ...] = (
        {"purpose": VerdictPurpose.SERVE},
        {"purpose": VerdictPurpose.SHADOW},
        {"tracer": "b"},
        {"tracer_version": "2"},
        {"revision": 1},
    )
    for number, other in enumerate(others):
        put_verdict(store, again.model_copy(update=other), number)
    assert failures(store.client, EVER, "a", "1") == [Failure("t", START, 2, is_retraced=False)]
    put_verdict(store, again, 9)
    assert failures(store.client, EVER, "a", "1") == [Failure("t", START, 2, is_retraced=True)]


def test_text_is_all_that_a_tracer_may_be_shown_of_the_steps(store: Store) -> None:
    tool = ToolUse(name="search", arguments={"q": "é"}, result=[1], error="late")
    put_trajectory(
        store, a_trajectory([step("t", 0, content="four", input="in", tool=tool), step("t", 1, content="é")])
    )
    put_trajectory(store, a_trajectory([step("t", 0, content="again")], opened_at=START + HOUR))
    texts = "four" + "in" + '{"q":"é"}' + "[1]" + "late" + "é"
    assert text_bytes(store.client, [("t", START), ("nobody", START)]) == {("t", START): len(texts.encode())}


def test_thousands_of_runs_are_measured(store: Store) -> None:
    put_trajectory(store, failed("t"))
    many = [(f"a-rather-long-trajectory-id-{number:0100d}", START) for number in range(1_200)]
    assert list(text_bytes(store.client, [*many, ("t", START)])) == [("t", START)]


def test_past_verdicts_are_a_tracers_own_whatever_they_were_for_and_none_that_took_nothing(store: Store) -> None:
    of = failed("t")
    put_trajectory(store, of)
    mine = a_verdict(of, tracer="a", traced_ms=7, tokens={"input": 5, "output": 2, "cached": 1})
    size = text_bytes(store.client, [("t", START)])["t", START]
    put_verdict(store, mine, 1)
    put_verdict(store, mine.model_copy(update={"purpose": VerdictPurpose.RETRACE, "traced_ms": 8}), 2)
    put_verdict(store, mine.model_copy(update={"trajectory_id": "gone", "traced_ms": 9}), 3)
    put_verdict(store, mine.model_copy(update={"tracer": "b"}), 4)
    put_verdict(store, mine.model_copy(update={"revision": 2, "status": VerdictStatus.SHED}), 5)
    put_verdict(store, mine.model_copy(update={"revision": 3, "attempts": 0}), 6)
    assert sorted(past_verdicts(store.client, "a")) == [
        Past(7, 5, 1, 2, size),
        Past(8, 5, 1, 2, size),
        Past(9, 5, 1, 2, 0),
    ]


def test_of_very_many_past_verdicts_the_latest_are_read(store: Store) -> None:
    of = failed("t")
    many = [
        a_verdict(of, tracer="a", trajectory_id=f"t{number}", traced_ms=number, decided_at=START + timedelta(0, number))
        for number in range(PAST_VERDICTS + 10)
    ]
    assert store.insert(tables.VERDICTS, [verdict_row(one, PLACE) for one in many], "many") == []
    assert [one.traced_ms for one in past_verdicts(store.client, "a")] == list(range(PAST_VERDICTS + 9, 9, -1))


def test_the_steps_of_a_tasks_runs_come_in_order_and_say_how_the_run_ended(store: Store) -> None:
    tool = ToolUse(name="search", error="late")
    bad = a_trajectory(
        [step("bad", 0), step("bad", 1, tool=tool, error_type="Late")],
        task_id="buy",
        routing=Routing(reason=RouteReason.SCORE),
        outcome=outcome(Result.SUCCESS),
        closed_at=CLOSED + HOUR,
    )
    put_trajectory(store, bad, times=2)
    put_trajectory(store, failed("other", task_id="sell"))
    first, second = task_steps(store.client, "buy")
    assert (first.trajectory_id, first.agent, first.is_failed, first.is_passed) == ("bad", "agent-0", True, False)
    assert (second.position, second.tool_name, second.has_tool_error, second.error_type) == (1, "search", True, "Late")
    assert (first.tool_name, first.has_tool_error, first.error_type) == (None, False, None)
    assert task_steps(store.client, INJECTION) == []


@pytest.mark.parametrize(
    ("result", "routed", "ended"),
    [
        (Result.FAILURE, None, "failed"),
        (Result.SUCCESS, None, "passed"),
        (Result.SUCCESS, RouteReason.SAMPLED, "passed"),
        (Result.SUCCESS, RouteReason.SCORE, "failed"),
        (None, RouteReason.ERROR, "failed"),
        (Result.UNKNOWN, None, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_a_run_failed_or_passed_or_nobody_knows(
    store: Store, result: Result | None, routed: RouteReason | None, ended: str
) -> None:
    said = outcome(result) if result else None
    routing = Routing(reason=routed) if routed else None
    put_trajectory(store, a_trajectory([step("t")], task_id="buy", outcome=said, routing=routing))
    (found,) = task_steps(store.client, "buy")
    assert (found.is_failed, found.is_passed) == (ended == "failed", ended == "passed")


def test_the_runs_of_a_task_are_chosen_by_time_system_and_number(store: Store) -> None:
    for number, system in enumerate(("shop", "bank", "shop")):
        put_trajectory(store, failed(f"t{number}", task_id="buy", system=system, closed_at=CLOSED + number * HOUR))

    def names(**chosen: Any) -> list[str]:
        return list(dict.fromkeys(one.trajectory_id for one in task_steps(store.client, "buy", **chosen)))

    assert names() == ["t2", "t1", "t0"]
    assert names(since=CLOSED + HOUR) == ["t2", "t1"]
    assert names(system="shop") == ["t2", "t0"]
    assert names(limit=2) == ["t2", "t1"]
