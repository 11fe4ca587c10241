from datetime import UTC, datetime, timedelta

import pytest

from schemas import CloseReason, Event, PipelineEventKind, Result, RouteReason, Trajectory
from schemas.errors import PartitionCountError, StateError
from streams.assemble import Assembler
from streams.checkpoint import collect, committed, due, has_room, restore
from streams.limits import Limits
from streams.route import RoutingRules, Rule
from streams.state import SOURCE_KEY, read_state, segment_key
from tests.factories import START, outcome, outcome_event, raw, step
from tests.streams.broker import ListBroker, Worker

MINUTE = 60_000
LATER = START + timedelta(hours=2)


def limited(**limits: int) -> Worker:
    return Worker(limits=Limits(**limits))


def ended(work: Worker, trajectory_id: str = "t1", *events: Event) -> Trajectory:
    """Send one whole trajectory of a step, and more; return its first revision."""
    work.send(step(trajectory_id), *events)
    work.send(step(trajectory_id, 1, final=True))
    return next(one for one in work.closed(2_000) if one.trajectory_id == trajectory_id)


def summary(trajectories: list[Trajectory]) -> list[tuple[str, int, CloseReason, int]]:
    return [(one.trajectory_id, one.revision, one.close_reason, len(one.steps)) for one in trajectories]


# by its end


def test_an_end_that_shows_no_gap_closes_at_once() -> None:
    work = Worker()
    work.send(step(), step(index=1), step(index=2, final=True))
    assert summary(work.checkpoint()) == [("t1", 1, CloseReason.COMPLETED, 3)]


def test_an_end_that_came_first_waits_for_what_is_before_it_and_no_longer() -> None:
    work = Worker()
    work.send(step(index=2, final=True))
    assert work.closed(1_000) == []
    work.send(step(index=0))
    assert work.closed(1_000) == []
    work.send(step(index=1))
    (one,) = work.checkpoint()
    assert [event.step_index for event in one.steps] == [0, 1, 2]
    assert one.gap_count == 0


def test_an_end_with_a_gap_closes_after_the_grace_and_names_the_gap() -> None:
    work = Worker()
    work.send(step(index=0), step(index=2, final=True))
    assert work.closed(1_999) == []
    (one,) = work.closed(1)
    assert (one.close_reason, one.gaps) == (CloseReason.COMPLETED, (1,))


def test_the_grace_starts_again_with_every_step() -> None:
    work = Worker()
    work.send(step(index=3, final=True))
    for index in (0, 1):
        assert work.closed(1_500) == []
        work.send(step(index=index))
    assert work.closed(1_999) == []
    assert len(work.closed(1)) == 1


def test_an_end_without_a_sequence_waits_the_grace() -> None:
    work = Worker()
    work.send(step(index=None, final=True))
    assert work.checkpoint() == []
    assert summary(work.closed(2_000)) == [("t1", 1, CloseReason.COMPLETED, 1)]


@pytest.mark.parametrize("index", [0, 1])
def test_a_sequence_that_stands_twice_waits_the_grace(index: int) -> None:
    work = Worker()
    work.send(step(), step(index=1, final=True), step(index=index, event_id="again"))
    assert work.checkpoint() == []
    assert len(work.closed(2_000)) == 1


def test_a_step_beyond_the_end_waits_the_grace() -> None:
    work = Worker()
    work.send(step(), step(index=1, final=True), step(index=2))
    assert work.checkpoint() == []
    assert len(work.closed(2_000)) == 1


def test_an_outcome_that_says_how_many_steps_there_were_ends_at_once() -> None:
    work = Worker()
    work.send(outcome_event(final=True, step_count=2), step())
    assert work.checkpoint() == []
    work.send(step(index=1))
    assert summary(work.checkpoint()) == [("t1", 1, CloseReason.COMPLETED, 2)]


def test_an_outcome_that_ends_without_a_count_waits_the_grace() -> None:
    work = Worker()
    work.send(step(), outcome_event(final=True))
    assert work.checkpoint() == []
    assert len(work.closed(2_000)) == 1


def test_an_outcome_ends_nothing_unless_it_says_so() -> None:
    work = Worker()
    work.send(step(), outcome_event())
    assert work.closed(9 * MINUTE) == []


def test_an_end_that_comes_before_any_step_waits_for_one() -> None:
    work = Worker()
    work.send(outcome_event(final=True))
    assert work.closed(60_000) == []
    work.send(step(index=None))
    assert work.checkpoint() == []
    assert summary(work.closed(2_000)) == [("t1", 1, CloseReason.COMPLETED, 1)]


def test_an_end_is_known_after_a_restart() -> None:
    work = Worker()
    work.send(step(index=1, final=True))
    work.checkpoint()
    work.kill()
    work.send(step())
    assert summary(work.checkpoint()) == [("t1", 1, CloseReason.COMPLETED, 2)]


def test_a_grace_goes_on_after_a_restart() -> None:
    work = Worker()
    work.send(step(index=1, final=True))
    work.closed(1_500)
    work.kill()
    assert work.closed(499) == []
    assert len(work.closed(1)) == 1


# by idleness, in the partition's own time


def test_what_falls_idle_is_closed() -> None:
    work = Worker()
    work.send(step())
    assert work.closed(10 * MINUTE - 1) == []
    (one,) = work.closed(1)
    assert one.close_reason is CloseReason.IDLE
    assert (one.opened_at, one.closed_at) == (START, START + timedelta(minutes=10))


def test_only_the_quiet_fall_idle() -> None:
    work = Worker()
    work.send(step("t1"), step("t2"))
    work.wait(6 * MINUTE)
    work.send(step("t1", 1))
    assert [one.trajectory_id for one in work.closed(5 * MINUTE)] == ["t2"]


def test_other_trajectories_records_are_time() -> None:
    work = Worker()
    work.send(step("quiet"))
    for number in range(601):
        work.send(step("busy", number), after_ms=1_000)
    assert [one.trajectory_id for one in work.checkpoint()] == ["quiet"]


def test_an_hours_outage_closes_nothing_that_the_backlog_goes_on_with() -> None:
    work = Worker()
    work.send(step("t1"), step("t2"))
    work.checkpoint()
    work.kill()
    work.send(step("t2", 1), after_ms=60 * MINUTE)
    assert work.checkpoint() == []
    work.send(step("t1", 1, final=True))
    assert summary(work.checkpoint()) == [("t1", 1, CloseReason.COMPLETED, 2)]


def test_a_topic_that_is_read_again_from_its_start_closes_nothing_that_it_goes_on_with() -> None:
    work = Worker()
    for index in range(20):
        work.broker.now_ms += 5 * MINUTE
        work.broker.append(0, raw(step("slow", index)))
        work.broker.append(0, raw(step(f"other-{index}")))
    for _ in range(40):
        work.read(1)
        assert work.checkpoint() == []
    assert work.assembler.open["slow"].count == 20


def test_an_outage_does_not_count_after_a_restart_either() -> None:
    work = Worker()
    work.send(step("t1"))
    work.send(step("t2"), after_ms=60 * MINUTE)
    work.checkpoint()
    work.kill()
    assert work.closed(10 * MINUTE - 1_001) == []
    assert [one.trajectory_id for one in work.closed(1)] == ["t1"]


def test_a_frozen_worker_is_not_idleness() -> None:
    work = Worker()
    work.send(step())
    work.assembler.passed(24 * 60 * MINUTE)
    assert work.checkpoint() == []


def test_after_a_restart_the_last_step_is_what_idleness_counts_from() -> None:
    work = Worker()
    work.send(step())
    work.closed(6 * MINUTE)
    work.send(step(index=1))
    work.closed(4 * MINUTE)
    work.kill()
    assert work.closed(6 * MINUTE - 1) == []
    assert len(work.closed(1)) == 1


def test_idleness_goes_on_after_a_restart() -> None:
    work = Worker()
    work.send(step())
    work.closed(6 * MINUTE)
    work.kill()
    assert work.closed(4 * MINUTE - 1) == []
    assert len(work.closed(1)) == 1


# by a limit of the partition


def test_what_stays_open_for_too_long_is_closed_however_busy() -> None:
    work = limited(max_age_ms=10_000)
    for index in range(30):
        work.send(step(index=index), after_ms=500)
        if published := work.checkpoint():
            break
    (one,) = published
    assert (one.close_reason, len(one.steps)) == (CloseReason.TOO_OLD, 21)
    assert one.closed_at - one.opened_at == timedelta(seconds=10)


def test_where_there_is_no_room_the_longest_quiet_is_closed_first_and_it_is_reported() -> None:
    work = limited(max_open=2)
    work.send(*(step(f"t{number}") for number in range(4)), step("t0", 1))
    assert not has_room(work.assembler)
    assert summary(work.checkpoint()) == [("t1", 1, CloseReason.MEMORY, 1), ("t2", 1, CloseReason.MEMORY, 1)]
    assert has_room(work.assembler)
    (report,) = work.topics.reports
    assert (report.kind, report.count, report.topic, report.partition) == (
        PipelineEventKind.MEMORY_CLOSED, 2, "step-events", 0,
    )  # fmt: skip


def test_where_there_is_no_room_for_bytes_the_longest_quiet_is_closed_first() -> None:
    work = limited(max_open_bytes=2_000)
    work.send(*(step(f"t{number}", content="x" * 700) for number in range(3)))
    assert not has_room(work.assembler)
    assert [one.trajectory_id for one in work.checkpoint()] == ["t0"]
    assert has_room(work.assembler)


def test_what_closes_by_itself_makes_room() -> None:
    work = limited(max_open=1)
    work.send(step("t1"), step("t2", final=True))
    assert summary(work.checkpoint()) == [("t2", 1, CloseReason.COMPLETED, 1)]
    assert work.topics.reports == []


def test_room_is_kept_across_a_restart_for_those_that_were_quiet_longest() -> None:
    work = limited(max_open=3)
    for number in range(3):
        work.send(step(f"t{number}"), after_ms=100)
    work.send(step("t0", 1), after_ms=100)
    work.checkpoint()
    work.kill()
    work.send(step("t3"))
    assert [one.trajectory_id for one in work.checkpoint()] == ["t1"]


def test_what_was_closed_for_want_of_room_takes_no_step_after() -> None:
    work = limited(max_open=1)
    work.send(step("t1"), step("t2"))
    work.checkpoint()
    work.send(step("t1", 1))
    assert work.closed(5_000) == []
    assert [one[0] for one in work.letters()] == ["over_limit"]


# late events


def test_a_late_step_makes_the_next_revision_when_it_is_quiet_again() -> None:
    work = Worker()
    first = ended(work)
    work.send(step(index=2))
    assert work.closed(1_999) == []
    (second,) = work.closed(1)
    assert (second.revision, len(second.steps), second.opened_at) == (2, 3, first.opened_at)
    assert second.close_reason is CloseReason.COMPLETED


def test_a_late_step_of_one_that_fell_idle_waits_until_it_is_idle_again() -> None:
    work = Worker()
    work.send(step())
    work.closed(10 * MINUTE)
    work.send(step(index=1))
    assert work.closed(9 * MINUTE) == []
    assert summary(work.closed(1 * MINUTE)) == [("t1", 2, CloseReason.IDLE, 2)]


def test_an_end_that_comes_late_completes_it() -> None:
    work = Worker()
    work.send(step())
    work.closed(10 * MINUTE)
    work.send(step(index=1, final=True))
    assert summary(work.closed(2_000)) == [("t1", 2, CloseReason.COMPLETED, 2)]


@pytest.mark.parametrize("is_ended", ["ended", "idle"])
def test_an_outcome_minutes_later_makes_the_next_revision_after_the_grace(is_ended: str) -> None:
    work = Worker()
    work.send(step(final=is_ended == "ended"))
    (first,) = work.closed(10 * MINUTE)
    work.send(outcome_event())
    assert work.closed(1_999) == []
    (second,) = work.closed(1)
    assert (second.revision, second.outcome, second.steps) == (2, outcome(), first.steps)
    assert second.close_reason is first.close_reason


def test_an_outcome_before_the_first_step_is_that_of_the_trajectory() -> None:
    work = Worker()
    work.send(outcome_event())
    work.send(step(), step(index=1, final=True), after_ms=1_000)
    (one,) = work.checkpoint()
    assert (one.outcome, one.revision, one.opened_at) == (outcome(), 1, START)


@pytest.mark.parametrize("at", [START, START + timedelta(minutes=30)])
def test_an_older_or_equal_late_outcome_makes_no_revision(at: datetime) -> None:
    work = Worker()
    ended(work, "t1", outcome_event(event_id="o1", at=START + timedelta(minutes=30)))
    equal = min((f"o{number}" for number in range(2, 99)), key=_tie)
    work.send(outcome_event(event_id=equal, result=Result.SUCCESS, at=at))
    assert work.closed(20 * MINUTE) == []
    assert len(work.topics.outcomes) == 2


def _tie(event_id: str) -> bytes:
    work = Worker()
    work.send(step(event_id="s", final=True), outcome_event(event_id=event_id))
    work.closed(2_000)
    return work.assembler.markers["t1"].outcome_tie


def test_a_newer_late_outcome_stands_and_then_an_older_one_does_not() -> None:
    work = Worker()
    ended(work, "t1", outcome_event(event_id="o1", at=START))
    work.send(outcome_event(event_id="o2", result=Result.SUCCESS, at=LATER))
    (second,) = work.closed(2_000)
    assert (second.outcome, second.outcome_at) == (outcome(Result.SUCCESS), LATER)
    work.kill()
    work.send(outcome_event(event_id="o3", result=Result.UNKNOWN, at=START + timedelta(hours=1)))
    assert work.closed(5_000) == []


def test_an_older_outcome_beside_a_late_step_changes_no_outcome() -> None:
    work = Worker()
    ended(work, "t1", outcome_event(event_id="o1", at=LATER))
    work.send(step(index=2), outcome_event(event_id="o2", result=Result.SUCCESS, at=START))
    (second,) = work.closed(2_000)
    assert (second.outcome, second.outcome_at, len(second.steps)) == (outcome(), LATER, 3)


def test_revisions_go_on_counting_across_restarts() -> None:
    work = Worker()
    ended(work)
    for revision in range(2, 6):
        work.kill()
        work.send(step(index=revision))
        work.checkpoint()
        work.kill()
        assert summary(work.closed(2_000)) == [("t1", revision, CloseReason.COMPLETED, revision + 1)]
    assert len(work.published()) == 5


def test_a_late_event_between_a_checkpoints_making_and_its_commit_finds_its_place() -> None:
    work = Worker()
    work.send(step(final=True))
    checkpoint = work.collect()
    work.send(outcome_event())
    places = work.broker.commit(0, checkpoint)
    committed(work.assembler, checkpoint, places)
    (second,) = work.closed(2_000)
    assert (second.revision, second.outcome, len(second.steps)) == (2, outcome(), 1)


def test_an_event_that_comes_while_content_is_read_back_is_in_the_revision() -> None:
    work = Worker()
    ended(work)
    work.send(outcome_event())
    work.wait(2_000)
    closing = due(work.assembler)
    bases = work.bases(closing)
    work.send(step(index=2))
    checkpoint = collect(work.assembler, closing, bases, work.rules)
    committed(work.assembler, checkpoint, work.broker.commit(0, checkpoint))
    second = work.published()[-1]
    assert (second.revision, len(second.steps), second.outcome) == (2, 3, outcome())
    assert work.closed(5_000) == []


def test_a_late_step_at_the_end_of_the_window_reopens_and_after_it_opens_another_run() -> None:
    work = limited(late_window_ms=30_000)
    first = ended(work)
    work.wait(30_000)
    work.send(step(index=2))
    (second,) = work.closed(2_000)
    assert (second.revision, second.opened_at) == (2, first.opened_at)
    work.wait(30_001)
    work.send(step(index=0, content="another day", final=True))
    (other,) = work.checkpoint()
    assert (other.revision, len(other.steps)) == (1, 1)
    assert other.opened_at > first.opened_at
    assert work.topics.dead_letters == []


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_window_ends_though_no_checkpoint_was_written_meanwhile(*, is_killed: bool) -> None:
    work = limited(late_window_ms=30_000)
    first = ended(work)
    work.send(step("other"), after_ms=60_000)
    work.send(step(index=0), step(index=1))
    work.checkpoint()
    if is_killed:
        work.kill()
    assert len(work.assembler.markers) == 0
    assert work.assembler.open["t1"].opened_ms > first.opened_at.timestamp() * 1000
    work.send(step(index=2, final=True))
    assert summary(work.checkpoint()) == [("t1", 1, CloseReason.COMPLETED, 3)]
    assert work.topics.dead_letters == []


def test_markers_leave_with_the_late_window_and_so_does_the_state() -> None:
    work = limited(late_window_ms=30_000)
    ended(work)
    work.closed(30_000)
    assert set(work.assembler.markers) == {"t1"}
    work.closed(1)
    assert (work.assembler.markers, work.assembler.marker_bytes) == ({}, 0)
    assert work.broker.state_keys() == {SOURCE_KEY}
    assert work.topics.reports == []


def test_where_there_is_no_room_the_oldest_markers_leave_and_it_is_reported() -> None:
    work = limited(max_marker_bytes=1_000)
    for number in range(5):
        ended(work, f"t{number}")
    work.closed(1_000)
    assert list(work.assembler.markers) == ["t2", "t3", "t4"]
    assert sum(one.memory for one in work.assembler.markers.values()) == work.assembler.marker_bytes <= 1_000
    assert [(one.kind, one.count) for one in work.topics.reports] == [(PipelineEventKind.MARKERS_EVICTED, 1)] * 2
    assert len({one.pipeline_event_id for one in work.topics.reports}) == 2
    work.kill()
    assert list(work.assembler.markers) == ["t2", "t3", "t4"]


def test_a_marker_that_leaves_early_is_gone_from_the_state_for_good() -> None:
    work = limited(max_marker_bytes=0)
    work.send(*(step(f"t{number}", final=True) for number in range(3)))
    assert len(work.checkpoint()) == 3
    work.closed(1_000)
    assert work.broker.state_keys() == {SOURCE_KEY}
    work.kill()
    assert work.assembler.markers == {}
    work.send(step("t1", 1))
    work.checkpoint()
    work.kill()
    assert work.assembler.open["t1"].marker is None
    assert summary(work.closed(10 * MINUTE)) == [("t1", 1, CloseReason.IDLE, 1)]


# content that is gone


def test_where_the_content_is_gone_the_next_revision_holds_what_came_late_and_it_is_reported() -> None:
    work = Worker()
    ended(work)
    work.lost = {0}
    work.send(step(index=2))
    assert summary(work.closed(2_000)) == [("t1", 2, CloseReason.COMPLETED, 1)]
    assert [(one.kind, one.count) for one in work.topics.reports] == [(PipelineEventKind.CONTENT_LOST, 1)]


def test_where_the_content_is_gone_an_outcome_makes_no_revision_and_it_is_reported() -> None:
    work = Worker()
    ended(work)
    work.lost = {0}
    work.send(outcome_event())
    assert work.closed(2_000) == []
    assert [one.kind for one in work.topics.reports] == [PipelineEventKind.CONTENT_LOST]
    assert work.topics.outcomes == [("t1", raw(outcome_event()))]
    work.kill()
    work.lost = set()
    work.send(outcome_event(event_id="o2", at=LATER))
    assert summary(work.closed(2_000)) == [("t1", 2, CloseReason.COMPLETED, 2)]


def test_a_marker_whose_content_is_gone_leaves_with_a_late_window_of_its_own() -> None:
    work = limited(late_window_ms=30_000)
    ended(work, "t1")
    ended(work, "t2")
    work.lost = {0}
    work.wait(20_000)
    work.send(outcome_event("t1"))
    work.closed(2_000)
    assert list(work.assembler.markers) == ["t2", "t1"]
    work.closed(30_001)
    assert (work.assembler.markers, work.assembler.marker_bytes) == ({}, 0)
    assert work.broker.state_keys() == {SOURCE_KEY}


def test_content_of_another_trajectory_is_no_base() -> None:
    work = Worker()
    ended(work, "t1")
    work.topics.trajectories[0] = work.topics.trajectories[0].replace(b'"trajectory_id":"t1"', b'"trajectory_id":"t2"')
    work.send(step("t1", 2))
    assert summary(work.closed(2_000)) == [("t1", 2, CloseReason.COMPLETED, 1)]
    assert [one.kind for one in work.topics.reports] == [PipelineEventKind.CONTENT_LOST]


# what a checkpoint writes


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


# restoring


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
