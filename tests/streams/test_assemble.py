from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DeadLetterReason, OutcomeEvent, StepEvent
from schemas.wire import DEPTH, NDJSON, Line, read_line, read_record
from streams.assemble import SourceRecord
from tests.factories import START, outcome_event, raw, step
from tests.strategies import EVENTS
from tests.streams.broker import Worker


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
