"""Dead letters: what is written to headers is read back, and foreign records are None."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DeadLetter, DeadLetterReason
from schemas.dead_letter import (
    AT,
    EXCEPTION,
    LINE,
    MESSAGE,
    MESSAGE_CHARACTERS,
    OFFSET,
    PARTITION,
    STAGE,
    TOPIC,
    from_record,
    to_headers,
)
from tests.factories import START
from tests.strategies import IDS, INDICES, TEXTS, TIMES

BYTES = st.none() | st.binary(max_size=20)
LETTERS = st.builds(
    DeadLetter,
    topic=IDS,
    partition=INDICES,
    offset=st.integers(0, 2**63 - 1),
    line=INDICES,
    reason=st.sampled_from(DeadLetterReason),
    message=TEXTS,
    stage=IDS,
    key=BYTES,
    value=BYTES,
    at=TIMES,
)
LETTER = DeadLetter(
    topic="step-events",
    partition=2,
    offset=81733,
    line=17,
    reason=DeadLetterReason.NOT_JSON,
    message="not JSON",
    stage="assemble",
    key=b"t1",
    value=b"{",
    at=START,
)


@given(LETTERS)
def test_a_dead_letter_comes_back_from_its_headers(letter: DeadLetter) -> None:
    assert from_record(letter.key, letter.value, to_headers(letter)) == letter


@given(LETTERS)
def test_a_dead_letter_comes_back_from_its_json(letter: DeadLetter) -> None:
    assert DeadLetter.model_validate_json(letter.model_dump_json()) == letter


@given(st.lists(st.tuples(st.sampled_from([name for name, _ in to_headers(LETTER)]) | st.text(), BYTES)))
def test_foreign_headers_never_raise(headers: list[tuple[str, bytes | None]]) -> None:
    assert from_record(b"key", b"value", headers) is None or dict(headers).keys() >= {TOPIC, PARTITION, OFFSET}


@given(st.sampled_from([name for name, _ in to_headers(LETTER)]), BYTES)
def test_one_foreign_header_among_ours_never_raises(name: str, value: bytes | None) -> None:
    headers: list[tuple[str, bytes | None]] = [*to_headers(LETTER), (name, value)]
    letter = from_record(LETTER.key, LETTER.value, headers)
    assert letter is None or letter.value == LETTER.value


@pytest.mark.parametrize("name", [TOPIC, PARTITION, OFFSET, STAGE, EXCEPTION, AT])
def test_without_a_header_that_says_what_it_is_a_record_is_no_dead_letter(name: str) -> None:
    assert from_record(b"", b"", [header for header in to_headers(LETTER) if header[0] != name]) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (TOPIC, b""),
        (PARTITION, b"-1"),
        (OFFSET, b"last"),
        (EXCEPTION, b"org.apache.kafka.connect.errors.DataException"),
        (AT, b"yesterday"),
        (AT, b"2026-03-01T12:00:00"),
        (AT, b"0001-01-01T00:00:00+23:00"),
        (STAGE, b"\xff\n"),
    ],
)
def test_a_header_that_says_something_else_makes_it_none(name: str, value: bytes) -> None:
    assert from_record(b"", b"", [*to_headers(LETTER), (name, value)]) is None


def test_a_message_and_a_line_may_be_missing() -> None:
    letter = from_record(None, None, [header for header in to_headers(LETTER) if header[0] not in {MESSAGE, LINE}])
    assert letter is not None
    assert (letter.message, letter.line) == ("", 0)


def test_a_long_message_is_cut_in_the_headers() -> None:
    letter = LETTER.model_copy(update={"message": "é" * 10_000})
    assert dict(to_headers(letter))[MESSAGE].decode() == "é" * MESSAGE_CHARACTERS


def test_the_headers_have_the_names_that_kafka_connect_gives_them() -> None:
    headers = dict(to_headers(LETTER))
    assert headers["__connect.errors.topic"] == b"step-events"
    assert headers["__connect.errors.partition"] == b"2"
    assert headers["__connect.errors.offset"] == b"81733"
    assert headers["__connect.errors.exception.class.name"] == b"not_json"
    assert headers["__connect.errors.exception.message"] == b"not JSON"


def test_the_address_is_what_the_command_line_takes() -> None:
    assert LETTER.address == "step-events/2/81733/17"


def test_the_time_is_read_in_utc() -> None:
    letter = from_record(None, None, [*to_headers(LETTER), (AT, b"2026-03-01T13:00:00+01:00")])
    assert letter is not None
    assert letter.at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert letter.at.tzinfo is UTC
