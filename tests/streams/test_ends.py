import pytest

from schemas import CloseReason
from tests.factories import outcome_event, step
from tests.streams.broker import MINUTE, Worker, summary


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
