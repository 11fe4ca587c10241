import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import CloseReason, Event, KeySource, Outcome, OutcomeEvent, Result, StepEvent, ToolUse, Trajectory
from streams.close import Base, Closed, close, pipeline_id, read_base
from streams.held import OpenTrajectory
from streams.marker import checksum, id_hash
from tests.factories import START, outcome, outcome_event, raw, step
from tests.strategies import OUTCOME_EVENTS, STEPS

OPENED_MS, CLOSED_MS = 1_772_366_400_123, 1_772_366_460_456
LATER = START + timedelta(hours=2)


def opened(*events: Event, **fields: Any) -> OpenTrajectory:
    trajectory = OpenTrajectory(events[0].trajectory_id, OPENED_MS, OPENED_MS, **fields)
    for event in events:
        trajectory.add(event, raw(event))
    return trajectory


def closed(*events: Event, reason: CloseReason = CloseReason.COMPLETED) -> Closed:
    return close(opened(*events), reason, CLOSED_MS, None)


def published(*events: Event) -> Trajectory:
    return Trajectory.model_validate_json(closed(*events).value())


def revised(before: Closed, *late: Event) -> Closed:
    """Return the next revision of one that is published at place 0."""
    trajectory = OpenTrajectory("t1", OPENED_MS, OPENED_MS, before.marker._replace(place=0))
    for event in late:
        trajectory.add(event, raw(event))
    return close(trajectory, CloseReason.COMPLETED, CLOSED_MS + 1, read_base(before.value()))


def test_the_header_is_the_first_steps_in_order() -> None:
    first = step(index=0, system="bank", system_version="7", tenant="acme", key_source=KeySource.SESSION_ID)
    one = published(step(index=1), first)
    assert (one.trajectory_id, one.system, one.system_version, one.tenant, one.key_source) == (
        "t1", "bank", "7", "acme", KeySource.SESSION_ID,
    )  # fmt: skip


def test_the_times_are_the_partitions() -> None:
    one = published(step())
    assert one.opened_at == datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    assert one.closed_at == datetime(2026, 3, 1, 12, 1, 0, 456_000, tzinfo=UTC)


@given(st.integers(0, 4_102_444_800_000))
def test_any_millisecond_is_published_and_read_back_as_it_is(opened_ms: int) -> None:
    trajectory = OpenTrajectory("t1", opened_ms, 0)
    trajectory.add(step(), raw(step()))
    value = close(trajectory, CloseReason.IDLE, opened_ms, None).value()
    assert read_base(value).identity == ("t1", opened_ms, 1)


def test_steps_stand_in_the_bytes_they_came_in() -> None:
    odd = raw(step(index=0)).replace(b'","', b'" ,\t"')
    trajectory = opened(step(index=1))
    trajectory.add(step(index=0), odd)
    value = close(trajectory, CloseReason.COMPLETED, CLOSED_MS, None).value()
    assert value.endswith(b'"steps":[' + odd + b"," + raw(step(index=1)) + b"]}")


def test_the_task_is_named_by_the_first_step_that_names_it() -> None:
    one = published(step(index=0), step(index=2, task="late"), step(index=1, task="buy tea", task_id="q7"))
    assert (one.task, one.task_id) == ("buy tea", "q7")


def test_where_no_step_names_the_task_the_last_outcome_that_does_names_it() -> None:
    told = outcome_event(event_id="o1", task="buy tea", task_id="q7", at=START)
    newer = outcome_event(event_id="o2", result=Result.SUCCESS, at=LATER)
    one = published(step(), newer, told)
    assert (one.task, one.task_id, one.outcome) == ("buy tea", "q7", outcome(Result.SUCCESS))


def test_what_a_step_leaves_open_the_outcome_says() -> None:
    one = published(step(task="buy tea"), outcome_event(task="sell tea", task_id="q7"))
    assert (one.task, one.task_id) == ("buy tea", "q7")


def test_the_next_revision_keeps_the_task_that_an_outcome_named() -> None:
    first = closed(step(), outcome_event(event_id="o1", task="buy tea", at=START))
    second = Trajectory.model_validate_json(revised(first, outcome_event(event_id="o2", at=LATER)).value())
    assert (second.task, second.outcome_at) == ("buy tea", LATER)


def test_gaps_are_named_and_counted() -> None:
    one = published(step(index=0), step(index=150))
    assert (one.gaps, one.gap_count) == (tuple(range(1, 101)), 149)


def test_truncated_steps_are_named() -> None:
    one = published(step(index=0, truncated=True), step(index=1), step(index=2, truncated=True))
    assert one.truncations == ("t1-0", "t1-2")


def test_what_there_is_not_is_not_written() -> None:
    assert set(json.loads(closed(step()).value())) == {
        "schema_version", "trajectory_id", "opened_at", "revision", "key_source", "tenant", "system", "close_reason",
        "closed_at", "steps",
    }  # fmt: skip


def test_the_routing_stands_in_the_traced_copy_only() -> None:
    one = closed(step())
    assert Trajectory.model_validate_json(one.value()).routing is None
    traced = Trajectory.model_validate_json(one.value({"reason": "failure", "over_budget": True}))
    assert traced.routing is not None
    assert traced.routing.over_budget
    assert traced.model_copy(update={"routing": None}) == Trajectory.model_validate_json(one.value())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_outcome_that_is_last_by_time_stands_whichever_came_first(order: tuple[int, ...]) -> None:
    results = (Result.FAILURE, Result.UNKNOWN, Result.SUCCESS)
    events = [
        outcome_event(event_id=f"o{n}", result=result, at=START + timedelta(seconds=n))
        for n, result in enumerate(results)
    ]
    one = published(step(), *(events[number] for number in order))
    assert (one.outcome, one.outcome_at) == (outcome(Result.SUCCESS), START + timedelta(seconds=2))


def test_of_two_outcomes_at_one_time_the_same_stands_whichever_came_first() -> None:
    one, other = outcome_event(event_id="o1"), outcome_event(event_id="o2", result=Result.SUCCESS)
    assert published(step(), one, other).outcome == published(step(), other, one).outcome


def test_a_steps_outcome_counts_at_the_time_the_step_was_over() -> None:
    ended = step(started_at=START, ended_at=LATER, outcome=Outcome(result=Result.SUCCESS))
    one = published(ended, outcome_event(at=LATER - timedelta(seconds=1)))
    assert (one.outcome, one.outcome_at) == (Outcome(result=Result.SUCCESS), LATER)


@pytest.mark.parametrize(
    ("fields", "is_error"),
    [
        ({}, False),
        ({"error_type": "Timeout"}, True),
        ({"error_type": ""}, False),
        ({"tool": ToolUse(name="search", error="no network")}, True),
        ({"tool": ToolUse(name="search", result="tea")}, False),
    ],
)
def test_whether_it_ended_in_an_error_is_asked_of_the_last_step_in_order(
    fields: dict[str, Any], *, is_error: bool
) -> None:
    last = step(index=1, **fields)
    assert closed(last, step(index=0)).facts.ended_in_error is is_error
    assert closed(step(index=0, **fields), step(index=1)).facts.ended_in_error is False


def test_the_marker_knows_every_event_it_was_made_of() -> None:
    events = step(index=0), step(index=1), outcome_event()
    marker = closed(*events).marker
    assert marker.events == 3
    assert [marker.check_of(event.event_id) for event in events] == [checksum(raw(event)) for event in events]
    assert marker.size == sum(len(raw(event)) for event in events)
    assert (marker.revision, marker.place, marker.outcome_tie) == (1, None, id_hash("t1-outcome"))


def test_the_next_revision_holds_the_one_before_and_what_came_late_in_order() -> None:
    first = closed(step(index=0), step(index=2))
    second = revised(first, step(index=1))
    one = Trajectory.model_validate_json(second.value())
    assert one.steps == (step(index=0), step(index=1), step(index=2))
    assert (one.revision, one.gap_count, second.marker.events) == (2, 0, 3)
    assert second.marker.size == first.marker.size + len(raw(step(index=1)))


def test_the_outcome_of_the_revision_before_stands_against_an_older_late_one() -> None:
    first = closed(step(index=0), outcome_event(event_id="o1", result=Result.SUCCESS, at=LATER))
    second = revised(first, step(index=1), outcome_event(event_id="o2", at=START))
    one = Trajectory.model_validate_json(second.value())
    assert (one.outcome, one.outcome_at) == (outcome(Result.SUCCESS), LATER)
    assert (second.marker.outcome_at, second.marker.outcome_tie) == (LATER, id_hash("o1"))


@pytest.mark.parametrize("first_id", ["o1", "o2"])
def test_two_outcomes_at_one_time_stand_alike_within_a_revision_and_across_two(first_id: str) -> None:
    events = {
        name: outcome_event(event_id=name, result=result)
        for name, result in (("o1", Result.FAILURE), ("o2", Result.SUCCESS))
    }
    late = next(event for name, event in events.items() if name != first_id)
    across = Trajectory.model_validate_json(revised(closed(step(), events[first_id]), late).value())
    assert across.outcome == published(step(), *events.values()).outcome


def test_what_is_no_trajectory_is_no_base() -> None:
    for value in (b"", b"{}", b"null", closed(step()).value()[:-1], raw(step())):
        with pytest.raises(ValueError, match="Trajectory"):
            read_base(value)


def test_a_report_has_the_same_id_when_it_is_made_again() -> None:
    assert pipeline_id("memory", 1, 2) == pipeline_id("memory", 1, 2) != pipeline_id("memory", 12)


def plain(events: tuple[StepEvent, ...]) -> list[str]:
    return sorted(event.model_dump_json() for event in events)


@given(
    st.lists(STEPS, min_size=1, max_size=4, unique_by=lambda one: one.event_id),
    st.lists(OUTCOME_EVENTS, max_size=2, unique_by=lambda one: one.event_id),
)
def test_any_events_are_published_read_back_and_published_again(
    steps: list[StepEvent], ends: list[OutcomeEvent]
) -> None:
    mine = [event.model_copy(update={"trajectory_id": "t1"}) for event in steps]
    first = closed(*mine, *(event.model_copy(update={"trajectory_id": "t1"}) for event in ends))
    one = Trajectory.model_validate_json(first.value())
    assert plain(one.steps) == plain(tuple(mine))
    late = step(event_id="one more", index=None, started_at=datetime(1999, 1, 1, tzinfo=UTC))
    again = Trajectory.model_validate_json(revised(first, late).value())
    assert plain(again.steps) == plain((*mine, late))
    assert (again.outcome, again.outcome_at, again.task) == (one.outcome, one.outcome_at, one.task)


def test_a_base_has_what_it_was_made_from() -> None:
    first = closed(step(index=0, task="buy tea"), outcome_event())
    base = read_base(first.value())
    assert isinstance(base, Base)
    assert base.identity == ("t1", OPENED_MS, 1)
    assert base.task == "buy tea"
    assert base.standing is not None
    assert (base.standing.time, base.standing.outcome) == (START + timedelta(hours=1), outcome())
