"""Recorded runs from a file of your own: one event a line, in any order of trajectories.

The least a line may hold:

    {"trajectory_id": "run-1", "agent": "planner", "content": "..."}
    {"trajectory_id": "run-1", "kind": "outcome", "outcome": {"result": "failure"}}

Rules:
- a line that is a step or outcome event already is sent byte for byte;
- to any other object what it lacks is added: `event_id` (a hash of the line and its number), `started_at` or `at`
  (the file's time and a millisecond a line), `system` (the file's name), `step_index` (its place among the steps of
  its trajectory, if no line of that has one); and, if no line says that the run is over, `final` to the last
  outcome, with the number of steps, or else to the last step;
- what is no event even then is sent as it is, and becomes a dead letter with its reason;
- only the places of lines are held in memory, and the lines of one trajectory at a time.
"""

import codecs
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from ops.recorded.files import existing, recorded_at
from ops.recorded.run import RecordedEvent, RecordedRun
from schemas import Event, OutcomeEvent, StepEvent
from schemas.errors import SettingsError
from schemas.wire import Line, read_line

EXPECTED = 'a file of events, one a line, like {"trajectory_id": "run-1", "agent": "planner", "content": "..."}'
_LINE_TIME = timedelta(milliseconds=1)
_Object = dict[str, JsonValue]


class _Place(NamedTuple):
    number: int
    offset: int


class _Draft(NamedTuple):
    """One line: its bytes, and either the event they are, the object to complete, or neither."""

    number: int
    raw: bytes
    event: Event | None
    fields: _Object | None

    @property
    def is_outcome(self) -> bool:
        return self.fields is not None and self.fields.get("kind") == "outcome"


def runs(path: Path, base: datetime | None = None) -> Iterator[RecordedRun]:
    """Read the file trajectory by trajectory, in the order of their first lines."""
    start = base or recorded_at(existing(path))
    if path.is_dir():
        raise SettingsError(f"{str(path)!r} is a folder, not {EXPECTED}; give one file")
    places = _places(path)
    with path.open("rb") as file:
        for trajectory_id, own in places.items():
            drafts = []
            for number, offset in own:
                file.seek(offset)
                drafts.append(_draft(number, _bare(file.readline())))
            yield RecordedRun(trajectory_id, tuple(_complete(drafts, path.stem, start)))


def _places(path: Path) -> dict[str | None, list[_Place]]:
    places: dict[str | None, list[_Place]] = {}
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if raw := _bare(line):
                places.setdefault(_trajectory_id(raw), []).append(_Place(number, offset))
            offset += len(line)
    if not places.keys() - {None}:
        raise SettingsError(f"{str(path)!r} is not {EXPECTED}: no line of it names a trajectory")
    return places


def _bare(line: bytes) -> bytes:
    return line.removeprefix(codecs.BOM_UTF8).strip(b" \t\r\n")


def _trajectory_id(raw: bytes) -> str | None:
    found = (_object(raw) or {}).get("trajectory_id")
    if not isinstance(found, str) or not found:
        return None
    try:
        found.encode()
    except UnicodeEncodeError:
        return None
    return found


def _object(raw: bytes) -> _Object | None:
    """Read one object; None for anything else, also for an object that no two readers would read alike."""
    try:
        found = json.loads(raw, object_pairs_hook=_refuse_repeats)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_repeats(pairs: list[tuple[str, JsonValue]]) -> _Object:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _draft(number: int, raw: bytes) -> _Draft:
    line = read_line(raw)
    if isinstance(line, Line):
        return _Draft(number, raw, line.event, None)
    return _Draft(number, raw, None, _object(raw))


def _complete(drafts: list[_Draft], system: str, base: datetime) -> list[RecordedEvent]:
    added = [_lacking(draft, system, base) for draft in drafts]
    steps = [place for place, draft in enumerate(drafts) if _is_step(draft, added[place])]
    if not any(_has_index(drafts[place]) for place in steps):
        for index, place in enumerate(steps):
            added[place]["step_index"] = index
    if not any(_is_final(draft) for draft in drafts):
        _add_end(drafts, added, steps)
    return [_recorded(draft, more) for draft, more in zip(drafts, added, strict=True)]


def _lacking(draft: _Draft, system: str, base: datetime) -> _Object:
    """Return what a line has to be given before it can be an event."""
    time = (base + draft.number * _LINE_TIME).isoformat()
    event_id = hashlib.sha256(b"%d:%b" % (draft.number, draft.raw)).hexdigest()[:32]
    if draft.is_outcome:
        return {"event_id": event_id, "at": time}
    return {"event_id": event_id, "started_at": time, "system": system}


def _is_step(draft: _Draft, more: _Object) -> bool:
    return isinstance(draft.event or _recorded(draft, more).event, StepEvent)


def _has_index(draft: _Draft) -> bool:
    """Whether a step brings its index, or has to stay without one, because its bytes are sent as they are."""
    return draft.fields is None or "step_index" in draft.fields


def _is_final(draft: _Draft) -> bool:
    return draft.event.final if draft.event else bool((draft.fields or {}).get("final"))


def _add_end(drafts: list[_Draft], added: list[_Object], steps: list[int]) -> None:
    """Say of the last outcome, or else of the last step, that the run is over."""
    outcomes = [place for place, draft in enumerate(drafts) if _is_outcome(draft, added[place])]
    if outcomes:
        added[outcomes[-1]].update(final=True, step_count=len(steps))
    elif steps:
        added[steps[-1]]["final"] = True


def _is_outcome(draft: _Draft, more: _Object) -> bool:
    return isinstance(draft.event or _recorded(draft, more).event, OutcomeEvent)


def _recorded(draft: _Draft, more: _Object) -> RecordedEvent:
    """Return the line with what it lacks, if that makes it an event; else the line as it is."""
    if draft.fields is None:
        return RecordedEvent(draft.raw, draft.event)
    try:
        raw = json.dumps(more | draft.fields, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return RecordedEvent(draft.raw, None)
    line = read_line(raw)
    return RecordedEvent(raw, line.event) if isinstance(line, Line) else RecordedEvent(draft.raw, None)
