"""Records of the sink's topics become rows of the store, or dead letters: no I/O here.

Rules: whatever the bytes are, nothing raises; what can't be read is a dead letter with its bytes and its address;
what can't be read on `dead-letters` itself is a row under its own address, so that no letter is about a letter.
A row remembers its record, since the store may refuse it later.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError

from schemas import (
    DeadLetter,
    DeadLetterReason,
    Label,
    OutcomeEvent,
    PipelineEvent,
    TopicName,
    Trajectory,
    Verdict,
    VerdictPurpose,
)
from schemas.dead_letter import from_record

from . import tables
from .rows import (
    Place,
    Row,
    dead_letter_row,
    label_row,
    outcome_row,
    pipeline_event_row,
    step_rows,
    trajectory_row,
    verdict_row,
)
from .tables import Table

STAGE = "sink"
_INT64 = 2**63


class Source(NamedTuple):
    """A record as it came."""

    topic: str
    place: Place
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


Rows = Sequence[tuple[Table, list[Row]]]


class Batch:
    """Rows by table, each with the record it comes from, and the dead letters found on the way."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {table.name: [] for table in tables.TABLES}
        self._sources: dict[str, list[Source]] = {table.name: [] for table in tables.TABLES}
        self.letters: list[DeadLetter] = []
        self.row_count = 0
        self.byte_count = 0

    def add(self, source: Source, now: datetime) -> None:
        """Take a record in."""
        self.byte_count += len(source.value or b"")
        match unpack(source, now):
            case DeadLetter() as letter:
                self.letters.append(letter)
            case found:
                self._take(found, source)

    def _take(self, found: Rows, source: Source) -> None:
        for table, rows in found:
            self.rows[table.name] += rows
            self._sources[table.name] += [source] * len(rows)
            self.row_count += len(rows)

    def refuse(self, table: Table, row: int, message: str, now: datetime) -> DeadLetter:
        """Return the dead letter of the record whose row the store refuses."""
        source = self._sources[table.name][row]
        return _letter(source, DeadLetterReason.UNSTORABLE, f"a row of {table.name!r}: {message}", now)

    def without_bytes(self, row: int, message: str) -> Row:
        """Return the row that stands for a dead letter whose own row the store refuses."""
        source = self._sources[tables.DEAD_LETTERS.name][row]._replace(key=None, value=None)
        return dead_letter_row(_letter(source, DeadLetterReason.UNSTORABLE, message, _time(source)), source.place)

    def __bool__(self) -> bool:
        return bool(self.row_count or self.letters)


def unpack(source: Source, now: datetime) -> Rows | DeadLetter:
    """Read one record."""
    if source.topic == TopicName.DEAD_LETTERS:
        return [(tables.DEAD_LETTERS, [_dead_letter(source)])]
    if not source.value or not source.value.strip():
        return _letter(source, DeadLetterReason.EMPTY, "the record has no value", now)
    try:
        return _READERS[source.topic](source.value, source.place)
    except ValidationError as error:
        return _letter(source, DeadLetterReason.INVALID, _explained(error), now)
    except Exception as error:  # noqa: BLE001 - a bad message is data, whatever it does to us
        return _letter(source, DeadLetterReason.UNPROCESSABLE, f"it raised {error!r:.300}", now)


def _trajectory(value: bytes, place: Place) -> Rows:
    of = Trajectory.model_validate_json(value)
    return [(tables.STEPS, step_rows(of)), (tables.TRAJECTORIES, [trajectory_row(of, place)])]


def _outcome(value: bytes, place: Place) -> Rows:
    return [(tables.OUTCOMES, [outcome_row(OutcomeEvent.model_validate_json(value), place)])]


def _verdict(value: bytes, place: Place) -> Rows:
    of = Verdict.model_validate_json(value)
    row = verdict_row(of, place)
    if of.purpose is not VerdictPurpose.SERVE:
        return [(tables.VERDICTS, [row])]
    return [(tables.VERDICTS, [row]), (tables.STANDING_VERDICTS, [row])]


def _label(value: bytes, place: Place) -> Rows:
    return [(tables.LABELS, [label_row(Label.model_validate_json(value), place)])]


def _pipeline_event(value: bytes, place: Place) -> Rows:
    return [(tables.PIPELINE_EVENTS, [pipeline_event_row(PipelineEvent.model_validate_json(value), place)])]


_READERS: dict[str, Callable[[bytes, Place], Rows]] = {
    TopicName.TRAJECTORIES: _trajectory,
    TopicName.OUTCOMES: _outcome,
    TopicName.VERDICTS: _verdict,
    TopicName.LABELS: _label,
    TopicName.PIPELINE_EVENTS: _pipeline_event,
}
READ = (*_READERS, TopicName.DEAD_LETTERS)
"""The topics that the sink reads."""


def _dead_letter(source: Source) -> Row:
    """Return the letter's row, or that of a record which is no letter, under its own address."""
    letter = from_record(source.key, source.value, source.headers)
    if letter is None or not -_INT64 <= letter.offset < _INT64:
        message = "its headers are not a dead letter's"
        letter = _letter(source, DeadLetterReason.UNPROCESSABLE, message, _time(source))
    return dead_letter_row(letter, source.place)


def _time(source: Source) -> datetime:
    return datetime.fromtimestamp(source.place.timestamp_ms / 1000, UTC)


def _letter(source: Source, reason: DeadLetterReason, message: str, at: datetime) -> DeadLetter:
    return DeadLetter(
        topic=source.topic,
        partition=source.place.partition,
        offset=source.place.offset,
        reason=reason,
        message=message,
        stage=STAGE,
        key=source.key,
        value=source.value,
        at=at,
    )


def _explained(error: ValidationError, most: int = 3) -> str:
    """Name what is wrong and where, never the content."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    texts = [f"{'.'.join(map(str, one['loc'])) or 'record'}: {one['msg']}" for one in found[:most]]
    return "; ".join(texts) + (f"; and {len(found) - most} more" if len(found) > most else "")
