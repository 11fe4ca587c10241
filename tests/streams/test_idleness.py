from datetime import timedelta

from schemas import CloseReason
from tests.factories import START, raw, step
from tests.streams.broker import MINUTE, START_MS, Worker, summary


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


def test_a_late_broker_clock_is_no_idleness_and_no_other_identity() -> None:
    work = Worker()
    work.send(step("t1"))
    work.wait(9 * MINUTE)
    work.broker.now_ms = START_MS + 1
    work.send(step("t2"))
    assert work.assembler.open["t2"].opened_ms == START_MS + 1
    assert [one.trajectory_id for one in work.closed(9 * MINUTE)] == ["t1"]


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
