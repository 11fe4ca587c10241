"""What bytes can cost the reader has a bound."""

import tracemalloc

import pytest

from schemas import DeadLetterReason
from schemas.wire import EVENT_BYTES, REFUSED_LINES, BadLine, Line, read_line, read_lines, read_record
from tests.factories import raw, step

KEYS = b",".join(b'"k%d":1' % number for number in range(300_000))


def _with(more: bytes) -> bytes:
    return raw(step()).replace(b"{", b"{" + more + b",", 1)


def _peak(read: bytes) -> float:
    tracemalloc.start()
    found = read_line(read)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, BadLine)
    return peak / len(read)


def test_an_event_larger_than_any_trajectory_is_not_even_read() -> None:
    largest = raw(step(content="x" * (EVENT_BYTES - len(raw(step(content="x"))) + 1)))
    assert len(largest) == EVENT_BYTES
    assert isinstance(read_line(largest), Line)
    refused = read_line(largest + b" ")
    assert isinstance(refused, BadLine)
    assert (refused.reason, refused.raw) == (DeadLetterReason.TOO_LARGE, largest + b" ")
    assert _peak(b"[" * (EVENT_BYTES + 1)) < 0.1


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (_with(KEYS), DeadLetterReason.INVALID),
        (_with(b'"tool":{' + KEYS + b"}"), DeadLetterReason.INVALID),
        (_with(b'"usage":{' + KEYS + b"}"), DeadLetterReason.INVALID),
        (b"{" + KEYS + b"}", DeadLetterReason.INVALID),
        (_with(b",".join([b'"a":1'] * 300_000)), DeadLetterReason.DUPLICATE_KEY),
        (_with(KEYS)[:-1], DeadLetterReason.NOT_JSON),
    ],
    ids=["top level", "tool", "usage", "alone", "the same", "cut"],
)
def test_hundreds_of_thousands_of_unknown_keys_cost_no_error_each(event: bytes, reason: DeadLetterReason) -> None:
    found = read_line(event)
    assert isinstance(found, BadLine)
    assert found.reason == reason
    assert len(found.message) < 500
    assert _peak(event) < 60, "validation alone would take two hundred bytes for one"


def test_as_many_keys_where_they_may_be_are_an_event() -> None:
    found = read_line(_with(b'"attributes":{' + KEYS + b"}"))
    assert isinstance(found, Line)
    assert len(found.event.model_dump()["attributes"]) == 300_000


def test_a_text_full_of_colons_is_an_event() -> None:
    assert isinstance(read_line(raw(step(content="12:34:56 " * 20_000))), Line)


def test_after_a_thousand_bad_lines_the_rest_of_a_record_is_kept_as_one() -> None:
    good = raw(step())
    bad = [b"bad %d" % number for number in range(REFUSED_LINES)]
    record = b"\r\n".join([good, b"", *bad, good, b"worse", good, b"bad"]) + b"\n\n"
    *lines, rest = read_record(record, ndjson=True)
    assert [line.number for line in lines if isinstance(line, Line)] == [0, REFUSED_LINES + 2]
    assert [line.raw for line in lines if isinstance(line, BadLine)] == bad
    assert isinstance(rest, BadLine)
    assert (rest.number, rest.reason) == (REFUSED_LINES + 3, DeadLetterReason.NOT_JSON)
    assert rest.raw == b"worse\r\n" + good + b"\r\nbad\n\n"
    assert "after 1000 bad lines the record's rest" in rest.message


def test_a_thousand_bad_lines_are_told_one_by_one() -> None:
    found = read_record(b"\n".join([b"x"] * REFUSED_LINES), ndjson=True)
    assert len(found) == REFUSED_LINES
    assert all(one.raw == b"x" for one in found)


def test_the_lines_of_a_record_are_read_as_they_are_asked_for() -> None:
    record = b"\n".join(raw(step(index=index)) for index in range(50_000))
    tracemalloc.start()
    count = sum(isinstance(line, Line) for line in read_lines(record, ndjson=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 50_000
    assert peak < 5_000_000, "all of them at once take a hundred megabytes"
