import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import CloseReason, DeadLetterReason, OutcomeEvent, Result, StepEvent
from schemas.wire import DEPTH, NDJSON, Line, read_line, read_record
from streams.assemble import FORWARDED, SourceRecord
from streams.home import home_partition
from streams.limits import Limits
from tests.factories import START, outcome, outcome_event, raw, step
from tests.strategies import EVENTS
from tests.streams.broker import ListBroker, Worker

HERE, ELSEWHERE = "alpha", "epsilon"
"""Of two partitions the first is at home in 0, the second in 1."""
NEXT_YEAR = START + timedelta(days=400)


def anew(event: StepEvent | OutcomeEvent) -> bytes:
    """Write an event otherwise: keys sorted, blanks, its defaults written out."""
    return json.dumps(json.loads(event.model_dump_json()), sort_keys=True, indent=1).encode()


# the same event again


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


# what comes in


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, DeadLetterReason.EMPTY),
        (b"", DeadLetterReason.EMPTY),
        (b"{", DeadLetterReason.NOT_JSON),
        (b"\xff", DeadLetterReason.NOT_UTF8),
        (b"{}", DeadLetterReason.INVALID),
        (raw(step()).replace(b"{", b'{"schema_version":9,', 1), DeadLetterReason.UNKNOWN_VERSION),
        (raw(step()).replace(b"{", b'{"agent":"x",', 1), DeadLetterReason.DUPLICATE_KEY),
    ],
)
def test_what_is_no_event_is_a_dead_letter_with_its_bytes(value: bytes | None, reason: DeadLetterReason) -> None:
    work = Worker()
    work.send(value)
    assert work.checkpoint() == []
    (letter,) = work.topics.dead_letters
    assert (letter.reason, letter.value) == (reason, value)
    assert (letter.topic, letter.partition, letter.offset, letter.line) == ("step-events", 0, 0, 0)
    assert work.assembler.open == {}


def test_a_dead_letter_keeps_the_records_key_and_the_brokers_time() -> None:
    work = Worker()
    work.broker.now_ms += 123
    work.broker.append(0, b"{", key=b"my key")
    work.read()
    work.checkpoint()
    (letter,) = work.topics.dead_letters
    assert (letter.key, letter.at, letter.stage) == (b"my key", START + timedelta(milliseconds=123), "assemble")


@pytest.mark.parametrize(
    "event",
    [
        step(started_at=datetime(1970, 1, 1, tzinfo=UTC)),
        step(started_at=datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        step(started_at=datetime(2099, 1, 1, tzinfo=UTC)),
        step(started_at=START + timedelta(days=1, seconds=1)),
        step(ended_at=datetime(1970, 1, 1, tzinfo=UTC)),
        step(ended_at=datetime(2099, 1, 1, tzinfo=UTC)),
        outcome_event(at=datetime(1970, 1, 1, tzinfo=UTC)),
        outcome_event(at=datetime(9999, 12, 31, tzinfo=UTC)),
        step(started_at=datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_before_2000_or_over_a_day_ahead_of_the_broker_is_a_dead_letter(event: StepEvent | OutcomeEvent) -> None:
    work = Worker()
    work.send(event)
    work.checkpoint()
    assert work.letters() == [(DeadLetterReason.TIMESTAMP, 0, 0)]
    assert work.assembler.open == {}


def test_a_day_ahead_of_the_broker_is_accepted_and_so_is_the_year_2000() -> None:
    work = Worker()
    work.send(step(started_at=datetime(2000, 1, 1, tzinfo=UTC), ended_at=START + timedelta(days=1)))
    work.send(outcome_event(at=START + timedelta(days=1)))
    assert work.assembler.open["t1"].count == 2


def test_the_brokers_clock_at_each_record_decides_what_is_ahead_of_it() -> None:
    work = Worker()
    late = step(started_at=START + timedelta(days=1, seconds=30))
    work.send(late)
    work.send(late, after_ms=60_000)
    assert work.assembler.open["t1"].count == 1
    work.checkpoint()
    assert work.letters() == [(DeadLetterReason.TIMESTAMP, 0, 0)]


def test_one_record_may_mix_trajectories_and_a_bad_line() -> None:
    work = Worker()
    work.send_batch(step("t1"), b"{not json", step("t2", final=True), b"  ", step("t1", index=1, final=True))
    published = {one.trajectory_id: one for one in work.checkpoint()}
    assert {key: len(one.steps) for key, one in published.items()} == {"t1": 2, "t2": 1}
    (letter,) = work.topics.dead_letters
    assert (letter.reason, letter.offset, letter.line, letter.value) == (DeadLetterReason.NOT_JSON, 0, 1, b"{not json")


def test_lines_may_end_as_windows_ends_them() -> None:
    work = Worker()
    work.send_batch(step(), step(index=1, final=True), b"", separator=b"\r\n")
    (one,) = work.checkpoint()
    assert len(one.steps) == 2
    assert work.topics.dead_letters == []


def test_many_lines_without_the_header_are_one_bad_record() -> None:
    work = Worker()
    work.send(raw(step()) + b"\n" + raw(step(index=1)))
    work.checkpoint()
    assert work.letters() == [(DeadLetterReason.NOT_JSON, 0, 0)]


def test_the_header_counts_whatever_its_case_and_parameters() -> None:
    work = Worker()
    value = raw(step()) + b"\n" + raw(step(index=1))
    work.send(value, headers=(("x", b"y"), ("Content-Type", NDJSON.upper() + b"; charset=utf-8")))
    assert work.assembler.open["t1"].count == 2


def test_what_the_state_includes_is_skipped() -> None:
    work = Worker()
    work.send(step(), step(index=1), outcome_event(), b"{")
    work.checkpoint()
    work.kill(redelivered=4)
    work.read()
    assert work.position == 4
    work.checkpoint()
    assert (len(work.topics.dead_letters), len(work.topics.outcomes)) == (1, 1)


def test_a_record_that_raised_is_a_dead_letter_as_a_whole_and_passed_over() -> None:
    work = Worker()
    work.send(step())
    record = SourceRecord(1, work.broker.now_ms, b"key", b"value")
    work.assembler.unprocessable(record, RuntimeError("what nobody thought of"))
    work.checkpoint()
    (letter,) = work.topics.dead_letters
    assert (letter.reason, letter.offset, letter.line, letter.key, letter.value) == (
        DeadLetterReason.UNPROCESSABLE, 1, 0, b"key", b"value",
    )  # fmt: skip
    assert letter.message == "RuntimeError: what nobody thought of"
    assert work.assembler.next_offset == 2


def test_time_goes_back_for_nobody() -> None:
    work = Worker()
    work.send(step(), after_ms=5_000)
    work.broker.now_ms -= 4_000
    work.send(step(index=1, final=True))
    (one,) = work.checkpoint()
    assert one.opened_at == one.closed_at == START + timedelta(seconds=5)


# whose home it is


def two() -> tuple[Worker, Worker]:
    broker = ListBroker(2)
    return Worker(broker, 0), Worker(broker, 1)


def test_an_event_read_elsewhere_is_forwarded_to_its_home_inside_the_checkpoint() -> None:
    here, there = two()
    here.send(step(ELSEWHERE, final=True))
    assert there.topics.steps == []
    assert here.checkpoint() == []
    (record,) = there.topics.steps
    assert (record.key, record.value, record.headers) == (
        ELSEWHERE.encode(), raw(step(ELSEWHERE, final=True)), ((FORWARDED, b"0"),),
    )  # fmt: skip
    there.read()
    assert [one.trajectory_id for one in there.checkpoint()] == [ELSEWHERE]
    assert here.assembler.open == {}


def test_lines_of_one_record_go_to_their_homes_and_the_rest_stays() -> None:
    here, there = two()
    here.send_batch(step(HERE, final=True), step(ELSEWHERE), step(ELSEWHERE, index=1, final=True))
    assert [one.trajectory_id for one in here.checkpoint()] == [HERE]
    there.read()
    assert [(one.trajectory_id, len(one.steps)) for one in there.checkpoint()] == [(ELSEWHERE, 2)]


def test_what_a_kill_undid_is_forwarded_once() -> None:
    here, there = two()
    here.send(step(ELSEWHERE))
    here.collect()
    here.kill()
    here.read()
    here.checkpoint()
    here.kill(redelivered=1)
    here.read()
    here.checkpoint()
    assert len(there.topics.steps) == 1


def test_an_event_forwarded_to_the_wrong_partition_is_misrouted() -> None:
    here, _ = two()
    here.send(step(ELSEWHERE), headers=((FORWARDED, b"1"),))
    here.checkpoint()
    (letter,) = here.topics.dead_letters
    assert (letter.reason, letter.value) == (DeadLetterReason.MISROUTED, raw(step(ELSEWHERE)))
    assert "home is partition 1" in letter.message


def test_homes_of_these_tests_are_what_they_say() -> None:
    assert (home_partition(HERE, 2), home_partition(ELSEWHERE, 2)) == (0, 1)


def test_a_bad_line_of_another_home_is_a_dead_letter_where_it_was_read() -> None:
    here, there = two()
    here.send(step(ELSEWHERE, started_at=NEXT_YEAR))
    here.checkpoint()
    assert here.letters() == [(DeadLetterReason.TIMESTAMP, 0, 0)]
    assert there.topics.steps == []


# limits of one trajectory


def small(**limits: int) -> Worker:
    return Worker(limits=Limits(**limits))


def test_beyond_the_limit_on_steps_it_closes_and_keeps_what_it_had() -> None:
    work = small(max_steps=3)
    work.send(*(step(index=index) for index in range(5)))
    (one,) = work.checkpoint()
    assert (one.close_reason, len(one.steps)) == (CloseReason.TOO_LONG, 3)
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 3, 0), (DeadLetterReason.OVER_LIMIT, 4, 0)]
    assert [letter.value for letter in work.topics.dead_letters] == [raw(step(index=3)), raw(step(index=4))]


def test_exactly_at_the_limit_it_is_a_trajectory_like_another() -> None:
    work = small(max_steps=3)
    work.send(step(), step(index=1), step(index=2, final=True))
    (one,) = work.checkpoint()
    assert (one.close_reason, len(one.steps), work.topics.dead_letters) == (CloseReason.COMPLETED, 3, [])


def test_beyond_the_limit_on_bytes_it_closes_and_keeps_what_it_had() -> None:
    one, other = step(content="x" * 700), step(index=1, content="x" * 700)
    work = small(max_bytes=1_000)
    work.send(one, other)
    (published,) = work.checkpoint()
    assert (published.close_reason, published.steps) == (CloseReason.TOO_LONG, (one,))
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 1, 0)]


def test_once_a_limit_was_passed_a_smaller_step_is_not_taken_either() -> None:
    work = small(max_bytes=1_000)
    work.send(step(), step(index=1, content="x" * 1_000), step(index=2))
    (published,) = work.checkpoint()
    assert published.steps == (step(),)
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 1, 0), (DeadLetterReason.OVER_LIMIT, 2, 0)]


def test_a_duplicate_is_no_step_beyond_the_limit() -> None:
    work = small(max_steps=1)
    work.send(step(), step())
    assert (work.checkpoint(), work.letters()) == ([], [])


def test_one_event_larger_than_a_trajectory_may_be_is_too_large() -> None:
    work = small(max_bytes=500)
    work.send(step(content="x" * 500), outcome_event(outcome=outcome(reason="x" * 500)))
    work.checkpoint()
    assert work.letters() == [(DeadLetterReason.TOO_LARGE, 0, 0), (DeadLetterReason.TOO_LARGE, 1, 0)]
    assert work.assembler.open == {}


def test_what_a_limit_closed_takes_no_step_after_and_makes_no_revision() -> None:
    work = small(max_steps=2)
    work.send(*(step(index=index) for index in range(3)))
    work.checkpoint()
    work.kill()
    work.send(step(index=3))
    assert work.closed(5_000) == []
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 2, 0), (DeadLetterReason.OVER_LIMIT, 3, 0)]


def test_what_a_limit_closed_still_takes_an_outcome() -> None:
    work = small(max_steps=2)
    work.send(*(step(index=index) for index in range(3)))
    work.checkpoint()
    work.send(outcome_event())
    (second,) = work.closed(2_000)
    assert (second.revision, second.close_reason, second.outcome) == (2, CloseReason.TOO_LONG, outcome())
    assert len(second.steps) == 2


def test_an_outcome_is_taken_beyond_the_limit_on_steps() -> None:
    work = small(max_steps=2)
    work.send(step(), step(index=1), outcome_event())
    assert work.assembler.open["t1"].count == 3
    assert work.checkpoint() == []


def test_an_outcome_that_is_beyond_all_bounds_is_a_dead_letter_and_makes_no_revision() -> None:
    work = small(max_bytes=1_000)
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
    work = small(max_steps=2)
    work.send(step(), step(index=1, final=True))
    work.checkpoint()
    work.send(step(index=2))
    assert work.closed(5_000) == []
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 2, 0)]


def test_a_late_step_that_would_be_too_many_bytes_is_a_dead_letter() -> None:
    work = small(max_bytes=1_000)
    work.send(step(final=True))
    work.checkpoint()
    work.send(step(index=1, content="x" * 900))
    assert work.closed(5_000) == []
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 1, 0)]


# anything at all

ANYTHING = st.lists(
    st.builds(
        lambda event, trajectory_id: raw(event.model_copy(update={"trajectory_id": trajectory_id})),
        EVENTS,
        st.sampled_from(["t1", "t2", "é 東"]),
    )
    | st.binary(max_size=20),
    max_size=8,
)


@given(values=ANYTHING, is_batch=st.booleans())
def test_whatever_is_sent_is_published_or_on_outcomes_or_a_dead_letter(values: list[bytes], *, is_batch: bool) -> None:
    work = Worker()
    work.broker.now_ms = round(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
    if is_batch and values:
        work.send_batch(*values)
    else:
        work.send(*values)
    work.checkpoint()
    work.kill()
    work.closed(600_000)
    found = [one.model_dump_json() for published in work.published() for one in published.steps]
    found += [says(value) for _, value in work.topics.outcomes]
    refused = [letter.value for letter in work.topics.dead_letters]
    assert len(found) == len(set(found))
    lines = [
        line
        for record in work.topics.steps
        for line in read_record(record.value, ndjson=is_batch)
        if line.raw not in refused
    ]
    assert {says(line.raw or b"") for line in lines} == set(found)


def says(value: bytes) -> str:
    line = read_line(value)
    assert isinstance(line, Line)
    return line.event.model_dump_json()


def test_json_nested_as_deep_as_the_wire_allows_is_published_and_read_back() -> None:
    nested = b'{"a":' * (DEPTH - 1) + b"1" + b"}" * (DEPTH - 1)
    event = raw(step(final=True, attributes={"a": 1})).replace(b'"attributes":{"a":1}', b'"attributes":' + nested)
    work = Worker()
    work.send(event)
    (first,) = work.checkpoint()
    work.send(outcome_event())
    (second,) = work.closed(2_000)
    assert second.steps == first.steps


# outcomes of their own


def test_every_outcome_event_goes_to_outcomes_once() -> None:
    work = Worker()
    events = [outcome_event(event_id=f"o{number}", at=START + timedelta(seconds=number)) for number in range(3)]
    work.send(step(final=True), *events, *events)
    work.closed(2_000)
    work.send(*events)
    work.checkpoint()
    assert work.topics.outcomes == [("t1", raw(event)) for event in events]


def test_a_run_of_outcomes_alone_is_never_published() -> None:
    work = Worker()
    work.send(outcome_event(), outcome_event(event_id="o2", final=True, at=START))
    for elapsed_ms in (5_000, 600_000, 4_000_000):
        assert work.closed(elapsed_ms) == []
    assert len(work.topics.outcomes) == 2
    assert work.assembler.open == {}
    assert work.broker.state_keys() == {b"source"}
