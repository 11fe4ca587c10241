from datetime import datetime, timedelta

import pytest

from schemas import CloseReason, PipelineEventKind, Result
from streams.checkpoint import collect, committed, due
from streams.state import SOURCE_KEY
from tests.factories import START, outcome, outcome_event, raw, step
from tests.streams.broker import MINUTE, Worker, ended, limited, summary

LATER = START + timedelta(hours=2)


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


def test_of_those_closed_together_the_first_published_leaves_first_after_a_restart_too() -> None:
    work = limited(max_marker_bytes=700)
    work.send(*(step(trajectory_id, final=True) for trajectory_id in ("zoe", "ada", "mia")))
    work.checkpoint()
    work.kill()
    assert list(work.assembler.markers) == ["zoe", "ada", "mia"]
    work.send(step("other"), after_ms=1)
    work.checkpoint()
    assert list(work.assembler.markers) == ["ada", "mia"]


def test_no_two_runs_of_an_id_are_opened_at_one_time_even_where_there_is_no_room_for_markers() -> None:
    work = limited(max_marker_bytes=0)
    for index in range(3):
        work.send(step(index=index, final=True))
        work.checkpoint()
        work.closed(500)
        work.broker.now_ms -= 500
    for after_ms in (2_000, 2_000):
        work.send(step(index=7, final=True), after_ms=after_ms)
        work.closed(2_000)
    revisions = [(one.opened_at, one.revision) for one in work.published()]
    assert len(revisions) == len(set(revisions)) > 1


def test_a_marker_that_leaves_early_is_gone_from_the_state_for_good() -> None:
    work = limited(max_marker_bytes=0)
    work.send(*(step(f"t{number}", final=True) for number in range(3)))
    assert len(work.checkpoint()) == 3
    work.send(b"{", after_ms=1)
    work.checkpoint()
    assert work.broker.state_keys() == {SOURCE_KEY}
    work.kill()
    assert work.assembler.markers == {}
    work.send(step("t1", 1))
    work.checkpoint()
    work.kill()
    assert work.assembler.open["t1"].marker is None
    assert summary(work.closed(10 * MINUTE)) == [("t1", 1, CloseReason.IDLE, 1)]


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
