"""The first thing that happens to a record of `step-events`: bytes become events, or lines with a reason.

Rules: one record is one event, or many as NDJSON when its header says `application/x-ndjson`; every line is
judged alone and keeps its bytes; nothing here raises on any bytes; a key that stands twice in one object is
refused, since readers would disagree on which of the two counts. What bytes can cost has a bound: a line larger than
any trajectory is not read, one with thousands of keys is looked at before it is validated, and a record of many lines
is read as it is asked for; after `REFUSED_LINES` bad ones its rest is kept as one.
"""

import io
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import JsonValue, TypeAdapter, ValidationError

from .fields import SCHEMA_VERSION
from .kinds import DeadLetterReason
from .step import Event, OutcomeEvent, StepEvent
from .topics import MB

NDJSON = b"application/x-ndjson"
DEPTH = 128
"""Free-form JSON nests at most so deep: inside a trajectory, and read with 200 levels, it still has room."""
EVENT_BYTES = 20 * MB
"""One event larger than this is not read: no trajectory may be set to hold it."""
REFUSED_LINES = 1_000
"""Bad lines of one record that are told one by one."""
_SMALL_BYTES = 4_096
_MANY_KEYS = 10_000
"""An event with more is looked at first: validation keeps an error, 2 kB, for every key that it does not know."""
_OWN_KEYS = 100
"""More keys than any object of the contract has."""
_OBJECTS = ("tool", "usage", "outcome")
_STEP = TypeAdapter(StepEvent)
_OUTCOME = TypeAdapter(OutcomeEvent)
_BLANKS = b" \t\r\n"


class Line(NamedTuple):
    """One accepted event with the bytes it came as; `number` is 0-based within its record."""

    number: int
    raw: bytes
    event: Event


class BadLine(NamedTuple):
    """One line that is no event, and why."""

    number: int
    raw: bytes | None
    reason: DeadLetterReason
    message: str


def is_ndjson(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether the headers say that the record holds many events."""
    return any(
        name.lower() == "content-type" and value.split(b";")[0].strip().lower() == NDJSON
        for name, value in headers
        if value is not None
    )


def read_record(value: bytes | None, *, ndjson: bool = False) -> list[Line | BadLine]:
    """Read every event of a record's value, in order."""
    return list(read_lines(value, ndjson=ndjson))


def read_lines(value: bytes | None, *, ndjson: bool = False) -> Iterable[Line | BadLine]:
    """Read a record's value, of many lines one at a time."""
    if not value or not value.strip(_BLANKS):
        return [BadLine(0, value, DeadLetterReason.EMPTY, "the record has no value")]
    return _lines(value) if ndjson else [read_line(value)]


def _lines(value: bytes) -> Iterator[Line | BadLine]:
    refused = at = 0
    for number, ended in enumerate(io.BytesIO(value)):
        line, start, at = ended.strip(b"\r\n"), at, at + len(ended)
        if not line.strip(_BLANKS):
            continue
        read = read_line(line, number)
        refused += isinstance(read, BadLine)
        if isinstance(read, BadLine) and refused > REFUSED_LINES:
            message = f"after {REFUSED_LINES} bad lines the record's rest, {len(value) - start} bytes, is kept as one"
            yield BadLine(number, value[start:], read.reason, f"{message}; its first: {read.message}")
            return
        yield read


def read_line(raw: bytes, number: int = 0) -> Line | BadLine:
    """Read one event."""
    if len(raw) > _SMALL_BYTES and (refused := _too_much(raw)) is not None:
        return BadLine(number, raw, *refused)
    event: Event
    try:
        event = _STEP.validate_json(raw)
    except ValidationError as as_step:
        try:
            event = _OUTCOME.validate_json(raw)
        except ValidationError as as_outcome:
            return _explain(raw, number, as_step, as_outcome)
    try:
        if _may_repeat_a_key(raw, _keys_read(event)):
            _refuse_repeated_keys(raw)
    except _RefusedError as error:
        return BadLine(number, raw, error.reason, str(error))
    return Line(number, raw, event)


def _too_much(raw: bytes) -> tuple[DeadLetterReason, str] | None:
    """Refuse what validation would need too much memory for; None leaves the judgement to it."""
    if len(raw) > EVENT_BYTES:
        return DeadLetterReason.TOO_LARGE, f"{len(raw)} bytes are more than any trajectory may have"
    if raw.count(b":") <= _MANY_KEYS:
        return None
    try:
        parsed = json.loads(raw, object_pairs_hook=_refuse_repeats)
    except (ValueError, RecursionError):
        return None
    except _RefusedError as error:
        return error.reason, str(error)
    objects = [parsed, *map(parsed.get, _OBJECTS)] if isinstance(parsed, dict) else []
    keys = max((len(one) for one in objects if isinstance(one, dict)), default=0)
    return (DeadLetterReason.INVALID, f"{keys} keys in one object: no event has them") if keys > _OWN_KEYS else None


def _explain(raw: bytes, number: int, as_step: ValidationError, as_outcome: ValidationError) -> BadLine:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadLine(number, raw, DeadLetterReason.NOT_UTF8, f"not UTF-8 at byte {error.start}")
    if as_step.error_count() == 1 and (first := as_step.errors()[0])["type"] == "json_invalid":
        return BadLine(number, raw, DeadLetterReason.NOT_JSON, first["msg"])
    parsed = _loads(raw) if raw.lstrip(_BLANKS).startswith(b"{") else None
    errors = as_outcome if isinstance(parsed, dict) and parsed.get("kind") == "outcome" else as_step
    version = parsed.get("schema_version", SCHEMA_VERSION) if isinstance(parsed, dict) else SCHEMA_VERSION
    if type(version) is int and version != SCHEMA_VERSION:
        message = f"schema_version {version!r} is not known here (this worker reads {SCHEMA_VERSION}); upgrade it"
        return BadLine(number, raw, DeadLetterReason.UNKNOWN_VERSION, message)
    return BadLine(number, raw, DeadLetterReason.INVALID, _first_errors(errors))


def _loads(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _first_errors(error: ValidationError, most: int = 3) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    texts = [f"{'.'.join(map(str, one['loc'])) or 'event'}: {one['msg']}" for one in found[:most]]
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(texts) + more


def _may_repeat_a_key(raw: bytes, keys: int) -> bool:
    r"""Count `":` against the keys that were read: equal counts prove that no key stands twice.

    But for blanks, every key in the bytes ends in a quote and a colon, so the count is never below the keys that
    are written. A quote-colon inside a string is written `\":` and is taken off; where an escaped backslash may
    stand before a quote, that proves nothing.
    """
    compact = raw.translate(None, _BLANKS)
    quoted = compact.count(b'":')
    if b"\\" in compact:
        if b'\\\\"' in compact:
            return True
        quoted -= compact.count(b'\\":')
    return quoted != keys


def _keys_read(event: Event) -> int:
    count = len(event.model_fields_set)
    if event.outcome is not None:
        count += len(event.outcome.model_fields_set)
    if isinstance(event, OutcomeEvent):
        return count
    if event.usage is not None:
        count += len(event.usage.model_fields_set)
    if event.tool is not None:
        count += len(event.tool.model_fields_set) + _keys_in(event.tool.arguments) + _keys_in(event.tool.result)
    return count + _keys_in(event.attributes)


def _keys_in(value: JsonValue) -> int:
    """Count the keys of free-form JSON; refuse what nests too deep, and numbers that 64 bits cannot hold."""
    if not value or isinstance(value, str):
        return 0
    count, depth = 0, 0
    level: list[JsonValue] = [value]
    while level:
        inner: list[JsonValue] = []
        for item in level:
            if isinstance(item, dict):
                count += len(item)
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
            elif isinstance(item, (int, float)):
                _refuse_a_number_beyond_64_bits(item)
        level, depth = inner, depth + 1
        if depth > DEPTH:
            message = f"JSON nested more than {DEPTH} levels deep; send its inner part as a string"
            raise _RefusedError(DeadLetterReason.NOT_JSON, message)
    return count


def _refuse_a_number_beyond_64_bits(number: float) -> None:
    if isinstance(number, float):
        if not math.isfinite(number):
            message = f"{number!r} is not a finite number; leave it out, or send it as a string"
            raise _RefusedError(DeadLetterReason.INVALID, message)
    elif not -(2**63) <= number < 2**64:
        message = f"an integer of {number.bit_length()} bits is beyond 64; send it as a string"
        raise _RefusedError(DeadLetterReason.INVALID, message)


class _RefusedError(Exception):
    """What the contract's own validation lets pass and the wire doesn't."""

    def __init__(self, reason: DeadLetterReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        message = f"the key {key!r} stands twice in one object; send it once"
        raise _RefusedError(DeadLetterReason.DUPLICATE_KEY, message)
    return result


def _refuse_repeated_keys(raw: bytes) -> None:
    """Read every object again; what can't be read again is refused too, since nothing is proven of it."""
    try:
        json.loads(raw, object_pairs_hook=_refuse_repeats)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(DeadLetterReason.NOT_JSON, f"not read alike by two readers of JSON: {error}") from error
