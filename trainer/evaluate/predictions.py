"""Somebody else's answers, from a file in one of two forms.

The published text form, in blocks of which only the named lines count:

    Prediction for 12.json:
    Agent Name: WebSurfer
    Step Number: 8

and JSON lines, such as our own verdicts; `confidence` and `alternatives` (the likeliest first) may be left out:

    {"trajectory_id": "who-and-when/hand_crafted/12", "agent": "WebSurfer", "step_index": 8, "confidence": 0.4}

Rules: steps count from 0; a trajectory is named by its id, or by the end of it, with or without `.json`, as long as
that is one trajectory alone; the last block about it stands; marks around a name (`**`, quotes) are none of it; a
block without agent and step says nothing of either.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter

from schemas import VerdictStatus
from schemas.errors import SettingsError
from tracer.protocol import Finding, Suspect

from .files import lines_of, parse, read_bytes
from .labelled import LabelledTrajectory

EXPECTED = "a prediction (trajectory_id, agent, step_index)"
_BLOCK = re.compile(r"^[^\S\n]*Prediction for ([^:\n]+?\.json):", re.MULTILINE)
_MARKS = "*`'\"“” \t"
_AGENT = re.compile(r"Agent Name\W*?:[\s*`'\"]*(?!Step Number)([^\n]*)", re.IGNORECASE)
_STEP = re.compile(r"Step Number\W*?:[\s*`'\"]*(?:step\s+)?([0-9]{1,9})\b", re.IGNORECASE)


class Said(NamedTuple):
    """What one block or line says, and the text in which the published scorer would look."""

    finding: Finding | None
    text: str | None = None
    """The block of the published form."""


class _Other(BaseModel):
    model_config = ConfigDict(extra="ignore")

    agent: str
    step_index: int
    score: float | None = None


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")

    trajectory_id: str
    agent: str | None = None
    step_index: int | None = None
    confidence: float | None = None
    alternatives: tuple[_Other, ...] = ()
    status: Literal["attributed", "abstained", "unparsable", "out_of_range", "overlong", "shed"] | None = None


_FORM = TypeAdapter(_Line)


def read(file: Path, items: Sequence[LabelledTrajectory]) -> list[Said]:
    """Return what a file says of each trajectory; raises SettingsError."""
    raw = read_bytes(file)
    is_lines = raw.lstrip()[:1] == b"{"
    named = list(_lines(file) if is_lines else _blocks(file, raw))
    places = _places(items)
    said = [Said(None)] * len(items)
    for name, one in named:
        said[_place(places, name, file)] = one
    return said


def _lines(file: Path) -> Iterator[tuple[str, Said]]:
    for line in lines_of(file):
        where = f"line {line.number} of {str(file)!r}"
        found = parse(line.raw, _FORM, where=where, expected=EXPECTED)
        try:
            yield found.trajectory_id, Said(_finding(found))
        except ValueError as error:
            raise SettingsError(f"{where} is not {EXPECTED}: a name or confidence is out of bounds; mend it") from error


def _finding(line: _Line) -> Finding:
    is_named = line.agent is not None and line.step_index is not None
    return Finding(
        status=VerdictStatus(line.status or ("attributed" if is_named else "abstained")),
        agent=line.agent,
        step_index=line.step_index,
        confidence=line.confidence,
        alternatives=tuple(Suspect(**other.model_dump()) for other in line.alternatives),
    )


def _blocks(file: Path, raw: bytes) -> Iterator[tuple[str, Said]]:
    parts = _BLOCK.split(raw.decode("utf-8", "replace"))
    if len(parts) < 3:
        raise SettingsError(f"{str(file)!r} holds no prediction; give 'Prediction for N.json:' blocks, or JSON lines")
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        yield name.strip(), Said(_read_block(text), text)


def _read_block(text: str) -> Finding:
    agent, step = _AGENT.search(text), _STEP.search(text)
    name = agent[1].strip().strip(_MARKS).rstrip(".,;").strip(_MARKS) if agent else ""
    if step is None or not re.fullmatch(r"[^\x00-\x1f\x7f]{1,256}", name):
        return Finding(status=VerdictStatus.UNPARSABLE)
    return Finding(status=VerdictStatus.ATTRIBUTED, agent=name, step_index=int(step[1]))


def _places(items: Sequence[LabelledTrajectory]) -> dict[str, list[int]]:
    """Return where the trajectories are that an id, or the end of one, may mean."""
    found: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        parts = item.trajectory.trajectory_id.split("/")
        for first in range(len(parts)):
            found.setdefault("/".join(parts[first:]), []).append(place)
    return found


def _place(places: dict[str, list[int]], name: str, file: Path) -> int:
    found = places.get(name) or places.get(name.removesuffix(".json")) or []
    if len(found) == 1:
        return found[0]
    if not found:
        raise SettingsError(f"{str(file)!r} predicts {name!r}, which the data set doesn't hold; give the other half")
    raise SettingsError(f"{str(file)!r} predicts {name!r}, which {len(found)} trajectories are called; give one half")
