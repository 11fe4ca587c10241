from schemas import CloseReason, DeadLetterReason
from tests.factories import outcome, outcome_event, raw, step
from tests.streams.broker import limited


def test_beyond_the_limit_on_steps_it_closes_and_keeps_what_it_had() -> None:
    work = limited(max_steps=3)
    work.send(*(step(index=index) for index in range(5)))
    (one,) = work.checkpoint()
    assert (one.close_reason, len(one.steps)) == (CloseReason.TOO_LONG, 3)
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 3, 0), (DeadLetterReason.OVER_LIMIT, 4, 0)]
    assert [letter.value for letter in work.topics.dead_letters] == [raw(step(index=3)), raw(step(index=4))]


def test_exactly_at_the_limit_it_is_a_trajectory_like_another() -> None:
    work = limited(max_steps=3)
    work.send(step(), step(index=1), step(index=2, final=True))
    (one,) = work.checkpoint()
    assert (one.close_reason, len(one.steps), work.topics.dead_letters) == (CloseReason.COMPLETED, 3, [])


def test_beyond_the_limit_on_bytes_it_closes_and_keeps_what_it_had() -> None:
    one, other = step(content="x" * 700), step(index=1, content="x" * 700)
    work = limited(max_bytes=1_000)
    work.send(one, other)
    (published,) = work.checkpoint()
    assert (published.close_reason, published.steps) == (CloseReason.TOO_LONG, (one,))
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 1, 0)]


def test_once_a_limit_was_passed_a_smaller_step_is_not_taken_either() -> None:
    work = limited(max_bytes=1_000)
    work.send(step(), step(index=1, content="x" * 1_000), step(index=2))
    (published,) = work.checkpoint()
    assert published.steps == (step(),)
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 1, 0), (DeadLetterReason.OVER_LIMIT, 2, 0)]


def test_a_duplicate_is_no_step_beyond_the_limit() -> None:
    work = limited(max_steps=1)
    work.send(step(), step())
    assert (work.checkpoint(), work.letters()) == ([], [])


def test_one_event_larger_than_a_trajectory_may_be_is_too_large() -> None:
    work = limited(max_bytes=500)
    work.send(step(content="x" * 500), outcome_event(outcome=outcome(reason="x" * 500)))
    work.checkpoint()
    assert work.letters() == [(DeadLetterReason.TOO_LARGE, 0, 0), (DeadLetterReason.TOO_LARGE, 1, 0)]
    assert work.assembler.open == {}


def test_what_a_limit_closed_takes_no_step_after_and_makes_no_revision() -> None:
    work = limited(max_steps=2)
    work.send(*(step(index=index) for index in range(3)))
    work.checkpoint()
    work.kill()
    work.send(step(index=3))
    assert work.closed(5_000) == []
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 2, 0), (DeadLetterReason.OVER_LIMIT, 3, 0)]


def test_what_a_limit_closed_still_takes_an_outcome() -> None:
    work = limited(max_steps=2)
    work.send(*(step(index=index) for index in range(3)))
    work.checkpoint()
    work.send(outcome_event())
    (second,) = work.closed(2_000)
    assert (second.revision, second.close_reason, second.outcome) == (2, CloseReason.TOO_LONG, outcome())
    assert len(second.steps) == 2


def test_an_outcome_is_taken_beyond_the_limit_on_steps() -> None:
    work = limited(max_steps=2)
    work.send(step(), step(index=1), outcome_event())
    assert work.assembler.open["t1"].count == 3
    assert work.checkpoint() == []


def test_an_outcome_that_is_beyond_all_bounds_is_a_dead_letter_and_makes_no_revision() -> None:
    work = limited(max_bytes=1_000)
    work.send(step(final=True))
    work.checkpoint()
    huge = outcome_event(outcome=outcome(reason="x" * 1_100_000))
    for _ in range(2):
        work.send(huge)
        assert work.closed(5_000) == []
        work.kill()
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 1, 0), (DeadLetterReason.OVER_LIMIT, 2, 0)]
    assert work.topics.outcomes == []


def test_a_full_trajectory_that_ended_by_itself_takes_no_late_step() -> None:
    work = limited(max_steps=2)
    work.send(step(), step(index=1, final=True))
    work.checkpoint()
    work.send(step(index=2))
    assert work.closed(5_000) == []
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 2, 0)]


def test_a_late_step_that_would_be_too_many_bytes_is_a_dead_letter() -> None:
    work = limited(max_bytes=1_000)
    work.send(step(final=True))
    work.checkpoint()
    work.send(step(index=1, content="x" * 900))
    assert work.closed(5_000) == []
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 1, 0)]
