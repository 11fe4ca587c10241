from datetime import UTC, datetime, timedelta

import pytest

from schemas import CloseReason, Result, RouteReason, Trajectory
from schemas.errors import PartitionCountError, StateError
from streams.assemble import Assembler
from streams.checkpoint import restore
from streams.limits import Limits
from streams.route import RoutingRules, Rule
from streams.state import SOURCE_KEY, read_state, segment_key
from tests.factories import START, outcome, outcome_event, step
from tests.streams.broker import ListBroker, Worker, ended, limited, summary

LATER = START + timedelta(hours=2)


def test_each_revision_of_a_failure_is_traced() -> None:
    work = Worker()
    ended(work, "t1", outcome_event())
    ended(work, "t2", outcome_event("t2", Result.SUCCESS))
    work.send(outcome_event("t2", event_id="o2", at=LATER))
    work.closed(2_000)
    traced = [Trajectory.model_validate_json(value) for value in work.topics.failed]
    assert [(one.trajectory_id, one.revision) for one in traced] == [("t1", 1), ("t2", 2)]
    assert all(one.routing is not None and one.routing.reason is RouteReason.FAILURE for one in traced)


def test_the_budget_is_counted_across_restarts() -> None:
    work = Worker(rules=RoutingRules(default=Rule(budget_per_hour=2)))
    for number in range(4):
        ended(work, f"t{number}", outcome_event(f"t{number}"))
        work.kill()
    routings = [Trajectory.model_validate_json(value).routing for value in work.topics.failed]
    assert [one is not None and one.over_budget for one in routings] == [False, False, True, True]


def test_what_a_kill_undid_is_not_on_the_budget() -> None:
    work = Worker(rules=RoutingRules(default=Rule(budget_per_hour=1)))
    work.send(step(final=True, outcome=outcome()))
    for _ in range(3):
        work.collect()
        work.kill()
        work.read()
    work.checkpoint()
    (value,) = work.topics.failed
    routing = Trajectory.model_validate_json(value).routing
    assert routing is not None
    assert not routing.over_budget


def test_a_checkpoint_that_was_not_written_left_nothing_behind() -> None:
    work = Worker()
    work.send(step(), b"{", outcome_event(), step(index=1, final=True))
    work.wait(2_000)
    assert len(work.collect().closed) == 1
    work.kill()
    assert (work.assembler.open, work.assembler.markers, work.assembler.next_offset) == ({}, {}, None)
    work.read()
    assert len(work.closed(2_000)) == 1
    assert (len(work.topics.dead_letters), len(work.topics.outcomes), len(work.topics.trajectories)) == (1, 1, 1)


def test_what_was_written_before_a_restart_is_not_written_again() -> None:
    work = Worker()
    work.send(step(content="x" * 1_000))
    work.checkpoint()
    work.kill()
    before = work.broker.state_bytes()
    work.send(step(index=1))
    work.checkpoint()
    assert work.broker.state_bytes() - before < 600


def test_segments_go_on_counting_after_a_restart() -> None:
    work = Worker()
    for index in range(4):
        work.send(step(index=index))
        work.checkpoint()
        work.kill()
    opened_ms = work.assembler.open["t1"].opened_ms
    assert {segment_key("t1", opened_ms, number) for number in range(4)} <= work.broker.state_keys()
    work.send(step(index=4, final=True))
    assert summary(work.checkpoint()) == [("t1", 1, CloseReason.COMPLETED, 5)]
    assert not any(key.startswith(b"s\0") for key in work.broker.state_keys())


def test_a_thousand_trajectories_are_restored_from_a_compacted_state() -> None:
    work = Worker()
    for index in range(3):
        work.send(*(step(f"t{number}", index) for number in range(1_000)), after_ms=100)
        work.checkpoint()
        work.broker.compact(0)
        work.kill()
    assert all(list(one.steps) == [f"{key}-{n}" for n in range(3)] for key, one in work.assembler.open.items())
    work.send(*(step(f"t{number}", 3, final=True) for number in range(1_000)))
    assert len(work.checkpoint()) == 1_000
    work.broker.compact(0)
    assert len(work.topics.state) == 1_001


def test_an_empty_state_starts_at_the_beginning() -> None:
    assembler = Assembler(0, 4, Limits())
    restore(assembler, read_state([]))
    assert (assembler.next_offset, assembler.open) == (None, {})


def test_a_state_written_for_another_number_of_partitions_is_refused() -> None:
    work = Worker(ListBroker(2))
    work.send(step("alpha"))
    work.checkpoint()
    for partitions in (1, 3, 4):
        with pytest.raises(PartitionCountError, match=f"has {partitions} partitions, the state was written for 2"):
            restore(Assembler(0, partitions, Limits()), read_state(work.topics.state))


def test_a_state_without_an_offset_is_refused() -> None:
    for event in (step(), step(final=True)):
        work = Worker()
        work.send(event)
        work.checkpoint()
        cut = [record for record in work.topics.state if record[0] != SOURCE_KEY]
        with pytest.raises(StateError, match="no source offset"):
            restore(Assembler(0, 1, Limits()), read_state(cut))


def test_a_state_that_holds_what_is_no_event_is_refused() -> None:
    work = Worker()
    work.send(step())
    work.checkpoint()
    broken = [(key, value and value.replace(b'"agent"', b'"tnega"')) for key, value in work.topics.state]
    with pytest.raises(StateError, match="'t1'"):
        restore(Assembler(0, 1, Limits()), read_state(broken))


def test_a_reopened_trajectory_is_restored_with_what_it_was_reopened_from() -> None:
    work = limited(max_steps=3)
    ended(work, "t1", outcome_event(event_id="o1", at=LATER))
    work.send(outcome_event(event_id="o2", at=LATER + timedelta(seconds=1), result=Result.SUCCESS))
    work.checkpoint()
    before = work.assembler.open["t1"]
    work.kill()
    after = work.assembler.open["t1"]
    assert (after.marker, after.ended, after.last_ms) == (before.marker, before.ended, before.last_ms)
    assert (work.assembler.markers, work.assembler.marker_bytes) == ({}, 0)
    assert summary(work.closed(2_000)) == [("t1", 2, CloseReason.COMPLETED, 2)]


def test_the_time_of_a_late_outcome_is_kept_to_the_microsecond() -> None:
    at = datetime(2026, 3, 1, 12, 30, 0, 123_457, tzinfo=UTC)
    work = Worker()
    ended(work, "t1", outcome_event(event_id="o1", at=at))
    work.kill()
    work.send(outcome_event(event_id="o2", at=at - timedelta(microseconds=1)))
    assert work.closed(5_000) == []
    work.send(outcome_event(event_id="o3", at=at + timedelta(microseconds=1)))
    assert len(work.closed(2_000)) == 1
