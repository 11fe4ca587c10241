"""Whatever the bytes: every line is read or refused with its bytes, and no key that stands twice gets through."""

import json
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from schemas import DeadLetterReason, Event, ToolUse, Usage
from schemas.wire import BadLine, Line, read_line, read_record
from tests.factories import outcome, outcome_event, raw, step
from tests.strategies import EVENTS, Pairs, documents, objects, written

Document = tuple[Event, Pairs, Random, tuple[str, ...]]
PIECES = (
    b'"',
    b"\\",
    b":",
    b'":',
    b'\\":',
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\0",
    b"\xff",
    b"NaN",
    b"9" * 30,
    b" ",
    b"\n",
)
VALID = tuple(
    raw(event)
    for event in (
        step(attributes={'a":': {"b": [1, {"c": 2}]}}, tool=ToolUse(name="x", arguments={"q": "\\"})),
        step(outcome=outcome(score=0.5), usage=Usage(model="m")),
        outcome_event(),
    )
)


def _refuse(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(pairs) == len(dict(pairs)), f"accepted, but a key stands twice: {pairs!r}"
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"accepted, but holds {name}")


def check(lines: list[Line | BadLine]) -> None:
    """Hold what was accepted against another reader of JSON."""
    for line in lines:
        if isinstance(line, Line):
            json.loads(line.raw, object_pairs_hook=_refuse, parse_constant=_refuse_constant)
        else:
            assert line.message
            assert line.reason in DeadLetterReason


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused_and_kept(value: bytes) -> None:
    line = read_line(value, 3)
    assert (line.number, line.raw) == (3, value)
    check([line])


@given(value=st.binary(max_size=200), ndjson=st.booleans())
@example(value=b"\x0b\n{}", ndjson=True)
@example(value=b"\r\r\n{}", ndjson=True)
def test_every_line_of_any_record_is_accounted_for(*, value: bytes, ndjson: bool) -> None:
    lines = read_record(value, ndjson=ndjson)
    check(lines)
    kept = b"".join(line.raw or b"" for line in lines)
    blanks = b" \t\r\n"
    assert kept.translate(None, blanks) == value.translate(None, blanks)


@given(
    st.sampled_from(VALID), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(PIECES)), max_size=4)
)
def test_mutated_events_never_raise(valid: bytes, mutations: list[tuple[float, int, bytes]]) -> None:
    value = valid
    for place, removed, piece in mutations:
        at = int(place * len(value))
        value = value[:at] + piece + value[at + removed :]
    check([read_line(value)])
    check(read_record(value, ndjson=True))


@given(st.sampled_from(VALID), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_events_with_a_piece_pasted_elsewhere_never_raise(valid: bytes, start: float, end: float, to: float) -> None:
    cut = valid[int(start * len(valid)) : int(end * len(valid))]
    at = int(to * len(valid))
    check([read_line(valid[:at] + cut + valid[at:])])


@given(EVENTS)
def test_every_valid_event_round_trips(event: Event) -> None:
    value = event.model_dump_json().encode()
    assert read_line(value) == Line(0, value, event)


@given(documents())
def test_an_event_is_the_same_however_its_json_is_written(document: Document) -> None:
    event, pairs, random, blanks = document
    value = written(pairs, random, blanks).encode()
    assert read_line(value) == Line(0, value, event)


@given(documents())
def test_a_key_that_stands_twice_is_refused_wherever_it_stands(document: Document) -> None:
    _, pairs, random, blanks = document
    where = random.choice([found for found in objects(pairs) if found])
    twin = random.choice(where)
    where.insert(random.randint(0, len(where)), twin)
    line = read_line(written(pairs, random, blanks).encode())
    assert isinstance(line, BadLine)
    assert line.reason is DeadLetterReason.DUPLICATE_KEY
    assert repr(twin[0]) in line.message


@given(documents(), st.sampled_from([None, 1, "x", "7", [], [Pairs([("a", 1)])], Pairs([("a", 1), ("b", Pairs())])]))
def test_a_key_that_stands_twice_with_other_values_is_refused_too(document: Document, value: object) -> None:
    _, pairs, random, blanks = document
    where = random.choice([found for found in objects(pairs) if found])
    where.insert(random.randint(0, len(where)), (random.choice(where)[0], value))
    assert isinstance(read_line(written(pairs, random, blanks).encode()), BadLine)


@given(st.lists(EVENTS, max_size=4), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 6), max_size=3))
def test_a_batch_gives_its_events_in_order_with_their_line_numbers(
    events: list[Event], end: bytes, blank_lines: list[int]
) -> None:
    lines = [event.model_dump_json().encode() for event in events]
    for place in blank_lines:
        lines.insert(place, b" \t")
    found = read_record(end.join(lines), ndjson=True)
    if events:
        expected = [(number, line) for number, line in enumerate(lines) if line.strip()]
        assert [(line.number, line.raw) for line in found] == expected
        assert [line.event for line in found if isinstance(line, Line)] == events
    else:
        assert [line.reason for line in found if isinstance(line, BadLine)] == [DeadLetterReason.EMPTY]
