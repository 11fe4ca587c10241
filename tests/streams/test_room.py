from datetime import timedelta

import pytest

from schemas import CloseReason, PipelineEventKind
from streams.checkpoint import has_room
from tests.factories import outcome_event, step
from tests.streams.broker import limited, summary


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


@pytest.mark.parametrize("is_killed", [False, True])
def test_reopened_by_an_outcome_what_a_limit_closed_takes_no_step_either(*, is_killed: bool) -> None:
    work = limited(max_open=1)
    work.send(step("t1"), step("t2"))
    work.checkpoint()
    work.send(outcome_event("t1"))
    work.checkpoint()
    if is_killed:
        work.kill()
    work.send(step("t1", 1))
    assert summary(work.closed(2_000)) == [("t1", 2, CloseReason.MEMORY, 1)]
    assert [one[0] for one in work.letters()] == ["over_limit"]


def test_one_that_is_reopened_is_not_too_old() -> None:
    work = limited(max_age_ms=60_000, idle_ms=10_000)
    work.send(step())
    work.closed(10_000)
    work.wait(120_000)
    for is_killed in (False, True):
        work.send(step(index=1 + is_killed))
        work.checkpoint()
        if is_killed:
            work.kill()
        assert work.closed(9_000) == []
