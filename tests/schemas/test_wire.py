"""The wire, case by case: what is too large to commit as an example, and what headers and line ends mean."""

import pytest

from schemas import DeadLetterReason, ToolUse
from schemas.wire import DEPTH, NDJSON, BadLine, Line, _keys_read, _may_repeat_a_key, is_ndjson, read_line, read_record
from tests.factories import outcome_event, raw, step, trajectory

HEAD = '"event_id":"e","trajectory_id":"t","system":"s","agent":"a","started_at":"2026-03-01T12:00:00Z"'


def read(more: str) -> Line | BadLine:
    return read_line(f"{{{HEAD},{more}}}".encode())


def reason(line: Line | BadLine) -> DeadLetterReason:
    assert isinstance(line, BadLine), line
    return line.reason


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("place", ['"attributes":{"a":%s}', '"tool":{"name":"x","arguments":%s}', "%s"])
def test_ten_thousand_levels_are_refused(opening: str, place: str) -> None:
    closing = "".join({"[": "]", "{": "}"}[one] for one in reversed(opening) if one in "[{")
    value = opening * 10_000 + "1" + closing * 10_000
    line = read(place % value) if place != "%s" else read_line(value.encode())
    assert reason(line) is DeadLetterReason.NOT_JSON


@pytest.mark.parametrize("kind", ["list", "object"])
def test_free_json_nests_up_to_the_limit_and_no_deeper(kind: str) -> None:
    opening, closing = ("[", "]") if kind == "list" else ('{"a":', "}")

    def nested(levels: int) -> Line | BadLine:
        return read(f'"tool":{{"name":"x","arguments":{opening * levels}1{closing * levels}}}')

    assert isinstance(nested(DEPTH - 1), Line)
    assert reason(nested(DEPTH)) is DeadLetterReason.NOT_JSON


def test_the_deepest_accepted_event_is_still_read_inside_a_trajectory() -> None:
    line = read(f'"attributes":{{"a":{"[" * (DEPTH - 1)}{"]" * (DEPTH - 1)}}}')
    assert isinstance(line, Line)
    whole = trajectory([step(attributes=line.event.model_dump()["attributes"])])
    assert type(whole).model_validate_json(whole.model_dump_json()) == whole


@pytest.mark.parametrize("number", ["18446744073709551615", "-9223372036854775808", "1.7976931348623157e308", "5e-324"])
def test_the_largest_numbers_are_kept_exactly(number: str) -> None:
    line = read(f'"attributes":{{"a":{number}}}')
    assert isinstance(line, Line)
    assert f'"a":{float(number) if "e" in number else number}' in line.event.model_dump_json()


def test_numbers_that_a_later_key_hides_do_not_save_a_repeated_key() -> None:
    hidden = "9" * 4000
    assert reason(read(f'"attributes":{{"a":{hidden},"a":1}}')) is DeadLetterReason.DUPLICATE_KEY


def test_a_repeated_key_is_found_among_very_many() -> None:
    keys = ",".join(f'"k{number}":0' for number in range(200_000))
    assert isinstance(read(f'"attributes":{{{keys}}}'), Line)
    assert reason(read(f'"attributes":{{{keys},"k77777":0}}')) is DeadLetterReason.DUPLICATE_KEY


@pytest.mark.parametrize("content", ["plain", 'JSON in a string {"a": 1}', "C:\\\\temp", '"a" : "b"', "line\nbreak"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_event_that_repeats_no_key_is_seldom_read_twice(content: str, indent: int | None) -> None:
    event = step(content=content, attributes={"a": [{"b": 1}]}, tool=ToolUse(name="x", arguments={"q": content}))
    value = event.model_dump_json(indent=indent, exclude_defaults=True).encode()
    assert not _may_repeat_a_key(value, _keys_read(event))


def test_a_key_may_stand_again_in_another_object() -> None:
    more = '"attributes":{"agent":1,"a":{"agent":2},"b":[{"agent":3},{"agent":4}]}'
    assert isinstance(read(more), Line)


def test_the_message_names_what_is_wrong_and_counts_the_rest() -> None:
    line = read_line(b'{"kind":"message"}')
    assert isinstance(line, BadLine)
    assert line.message.startswith("event_id: Field required; trajectory_id: Field required; system: Field required")
    assert line.message.endswith("; and 2 more")


def test_an_outcome_event_is_explained_as_one() -> None:
    line = read_line(b'{"kind":"outcome","event_id":"e","trajectory_id":"t","outcome":{"result":"failure"}}')
    assert isinstance(line, BadLine)
    assert line.message == "at: Field required"


def test_a_newer_version_says_what_to_do() -> None:
    line = read('"schema_version":2,"colour":"red"')
    assert isinstance(line, BadLine)
    assert line.message == "schema_version 2 is not known here (this worker reads 1); upgrade it"


def test_the_kind_tells_steps_from_outcomes() -> None:
    lines = read_record(raw(step()) + b"\n" + raw(outcome_event()), ndjson=True)
    assert [type(line.event).__name__ for line in lines if isinstance(line, Line)] == ["StepEvent", "OutcomeEvent"]


def test_a_record_without_a_value_is_refused_and_stays_without() -> None:
    assert read_record(None) == [BadLine(0, None, DeadLetterReason.EMPTY, "the record has no value")]


@pytest.mark.parametrize("value", [b"", b"\n", b"\r\n \t\r\n"])
@pytest.mark.parametrize("ndjson", [True, False])
def test_a_blank_record_is_refused_once_and_keeps_its_bytes(*, value: bytes, ndjson: bool) -> None:
    (line,) = read_record(value, ndjson=ndjson)
    assert (reason(line), line.raw) == (DeadLetterReason.EMPTY, value)


def test_carriage_returns_and_blank_lines_keep_the_line_numbers() -> None:
    first, second = raw(step(index=0)), raw(step(index=1))
    lines = read_record(b"\r\n" + first + b"\r\n\r\n \t\r\n" + second + b"\r\nnot json\r\n", ndjson=True)
    assert [(line.number, line.raw) for line in lines] == [(1, first), (4, second), (5, b"not json")]


def test_a_line_that_is_blank_only_to_python_is_refused_not_dropped() -> None:
    lines = read_record(b"\x0b\n" + raw(step()), ndjson=True)
    assert [type(line) for line in lines] == [BadLine, Line]


def test_many_lines_without_the_header_are_not_taken_for_a_batch() -> None:
    (line,) = read_record(raw(step(index=0)) + b"\n" + raw(step(index=1)))
    assert reason(line) is DeadLetterReason.NOT_JSON


def test_a_pretty_printed_event_is_one_event() -> None:
    event = step(tool=ToolUse(name="x", arguments={"a": [1, {"b": 2}]}))
    value = event.model_dump_json(indent=2).encode() + b"\n"
    assert read_record(value) == [Line(0, value, event)]


@pytest.mark.parametrize(
    ("headers", "batch"),
    [
        ([("content-type", NDJSON)], True),
        ([("trace", b"1"), ("Content-Type", b"Application/X-NDJSON; charset=utf-8")], True),
        ([("content-type", b"application/json")], False),
        ([("content-type", None)], False),
        ([("content-type", b"")], False),
        ([("x-content-type", NDJSON)], False),
        ([], False),
    ],
)
def test_only_the_content_type_header_makes_a_batch(*, headers: list[tuple[str, bytes | None]], batch: bool) -> None:
    assert is_ndjson(headers) is batch
