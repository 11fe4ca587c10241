import json

import pytest

from schemas import (
    DeadLetterReason,
    OutcomeEvent,
    Result,
    StepEvent,
)
from tests.factories import outcome_event, raw, step
from tests.streams.broker import Worker


def anew(event: StepEvent | OutcomeEvent) -> bytes:
    """Write an event otherwise: keys sorted, blanks, its defaults written out."""
    return json.dumps(json.loads(event.model_dump_json()), sort_keys=True, indent=1).encode()


def test_a_duplicate_step_changes_nothing() -> None:
    work = Worker()
    work.send(step(), step())
    assert work.assembler.open["t1"].count == 1
    assert work.assembler.open_bytes == len(raw(step()))
    work.checkpoint()
    assert work.topics.dead_letters == []


def test_a_duplicate_does_not_keep_a_trajectory_from_falling_idle() -> None:
    work = Worker()
    work.send(step())
    work.wait(9 * 60_000)
    work.send(step())
    assert len(work.closed(60_000)) == 1


@pytest.mark.parametrize("event", [step(attributes={"b": 1, "a": {"y": True, "x": None}}), outcome_event()])
def test_an_event_that_is_written_otherwise_is_a_duplicate(event: StepEvent | OutcomeEvent) -> None:
    work = Worker()
    work.send(event, anew(event))
    work.checkpoint()
    assert work.assembler.open["t1"].count == 1
    assert work.topics.dead_letters == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (step(), step(content="something else")),
        (step(attributes={"a": True}), step(attributes={"a": 1})),
        (step(attributes={"a": 0}), step(attributes={"a": False})),
        (step(), step(index=None, event_id="t1-0")),
        (step(), outcome_event(event_id="t1-0")),
        (outcome_event(event_id="t1-0"), step()),
        (outcome_event(), outcome_event(result=Result.SUCCESS)),
    ],
)
def test_the_same_id_with_other_content_is_a_conflict_and_the_first_stands(
    one: StepEvent | OutcomeEvent, other: StepEvent | OutcomeEvent
) -> None:
    work = Worker()
    work.send(one, other)
    held = work.assembler.open["t1"]
    assert held.known(one.event_id) == raw(one)
    assert held.count == 1
    work.checkpoint()
    (letter,) = work.topics.dead_letters
    assert (letter.reason, letter.offset, letter.value) == (DeadLetterReason.CONFLICT, 1, raw(other))
    assert repr(one.event_id) in letter.message


def test_the_same_event_id_in_two_trajectories_is_two_events() -> None:
    work = Worker()
    work.send(step("t1", event_id="e"), step("t2", event_id="e", final=True))
    assert [[one.trajectory_id, one.steps[0].event_id] for one in work.checkpoint()] == [["t2", "e"]]
    work.send(step("t1", index=1, event_id="f", final=True))
    assert [len(one.steps) for one in work.checkpoint()] == [2]
    assert work.topics.dead_letters == []


def test_duplicates_are_known_after_a_restart() -> None:
    work = Worker()
    work.send(step(), outcome_event())
    work.checkpoint()
    work.kill()
    work.send(step(), anew(step()), outcome_event(), step(content="something else"))
    work.checkpoint()
    assert work.letters() == [(DeadLetterReason.CONFLICT, 5, 0)]
    assert len(work.topics.outcomes) == 1


def test_a_duplicate_of_what_is_published_makes_no_revision() -> None:
    work = Worker()
    work.send(step(final=True), outcome_event())
    assert len(work.closed(2_000)) == 1
    for _ in range(2):
        work.send(step(final=True), outcome_event())
        assert work.closed(5_000) == []
        work.kill()
    assert (work.letters(), len(work.topics.outcomes)) == ([], 1)


def test_a_conflict_with_what_is_published_is_a_dead_letter_and_makes_no_revision() -> None:
    work = Worker()
    work.send(step(final=True))
    work.checkpoint()
    work.send(step(content="something else"))
    assert work.closed(5_000) == []
    assert work.letters() == [(DeadLetterReason.CONFLICT, 1, 0)]


def test_a_reopened_trajectory_still_knows_what_it_published() -> None:
    work = Worker()
    work.send(step(final=True))
    work.checkpoint()
    work.send(step(index=1), step(final=True), step(content="something else"), step(index=1, content="else"))
    (second,) = work.closed(5_000)
    assert second.steps == (step(final=True), step(index=1))
    assert work.letters() == [(DeadLetterReason.CONFLICT, 3, 0), (DeadLetterReason.CONFLICT, 4, 0)]
