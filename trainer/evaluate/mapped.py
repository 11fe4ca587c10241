r"""Labelled trajectories in somebody else's JSON, where a mapping file says what lies where.

A mapping is TOML or JSON:

    name = "some-benchmark"
    records = "data.runs"              # the list in each file; left out: a file is one record, or a list of them
    id = "run_id"                      # left out: the file's name, and the place in its list
    steps = "messages"
    children = "child_spans"           # of a step, where steps are a tree: parents stand before their children
    agent = ["metadata.agent", "role"] # of a step: the first that is there
    content = ["input", "output"]      # of a step: all that are there
    step_id = "span_id"                # of a step, where the gold step is named by an id
    task = "question"
    task_group = "task_id"             # what is not independent; left out: every record by itself
    ground_truth = "answer"
    gold_agent = "label.agent"         # left out: whoever acts at the gold step
    gold_step = "label.step"
    first_step = 1                     # the number of the first step, 0 or 1
    origin = "=natural"
    part = "split"

    [labels]                           # where the gold lies in files of its own
    path = "../labels.json"            # from the data set's folder; a folder: one file a record, named by its id
    records = ""
    id = "run_id"

Rules: a path is names and list places with dots between, `\.` for a dot within a name; `=text` is that text itself;
what a path leads to that is no text is written as JSON; a gold path that leads nowhere is an error, never a guess.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, TypeAdapter, ValidationError

from schemas.errors import SettingsError

from .build import About, Gold, Said, labelled
from .files import files_of, first_fault, parse, read_bytes
from .labelled import LabelledTrajectory, Origin

_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_DOT = re.compile(r"(?<!\\)\.")


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_several)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelFiles(_Strict):
    """Where the labels are, if they are not in the records."""

    path: str
    records: str = ""
    id: str = ""


class Mapping(_Strict):
    """What lies where."""

    name: str = "mapped"
    records: str = ""
    id: str | None = None
    steps: str
    children: str | None = None
    agent: Paths = ("agent",)
    content: Paths = ("content",)
    step_id: str | None = None
    task: str | None = None
    task_group: str | None = None
    ground_truth: str | None = None
    gold_agent: str | None = None
    gold_step: str
    gold_reason: str | None = None
    first_step: Literal[0, 1] = 0
    origin: str = "=natural"
    part: str | None = None
    system: str | None = None
    labels: LabelFiles | None = None


class _Record(NamedTuple):
    record_id: str
    content: JsonValue
    where: str


def read_mapping(file: Path) -> Mapping:
    """Read a mapping file; raises SettingsError."""
    raw = read_bytes(file)
    try:
        found = json.loads(raw) if file.suffix.lower() == ".json" else tomllib.loads(raw.decode())
        return Mapping.model_validate(found)
    except ValidationError as error:
        raise SettingsError(f"{str(file)!r} is no mapping: {first_fault(error)}; mend it") from error
    except ValueError as error:
        raise SettingsError(f"{str(file)!r} is neither TOML nor JSON: {' '.join(str(error).split())}") from error


def items(path: Path, mapping: Mapping) -> Iterator[LabelledTrajectory]:
    """Read a file or a folder of records as the mapping says."""
    labels = _labels(path, mapping.labels) if mapping.labels else None
    for record in _records(path, mapping.records, mapping.id):
        gold_in = record
        if labels is not None:
            if record.record_id not in labels:
                raise SettingsError(f"{record.where} has no label: none is of {record.record_id!r}; mend the labels")
            gold_in = labels[record.record_id]
        yield _labelled(record, gold_in, mapping)


def _labels(path: Path, files: LabelFiles) -> dict[str, _Record]:
    folder = path if path.is_dir() else path.parent
    return {one.record_id: one for one in _records(folder / files.path, files.records, files.id or None)}


def _records(path: Path, records: str, record_id: str | None) -> Iterator[_Record]:
    for file in files_of(path):
        content = parse(read_bytes(file), _JSON, where=repr(str(file)), expected="JSON")
        listed = _needed(content, records, repr(str(file))) if records else content
        for place, one in enumerate(listed) if isinstance(listed, list) else [(None, listed)]:
            where = repr(str(file)) if place is None else f"record {place} of {str(file)!r}"
            name = file.stem if place is None else f"{file.stem}/{place}"
            yield _Record(_text(_needed(one, record_id, where)) if record_id else name, one, where)


def _labelled(record: _Record, gold_in: _Record, mapping: Mapping) -> LabelledTrajectory:
    listed = _needed(record.content, mapping.steps, record.where)
    if not isinstance(listed, list) or not listed:
        raise SettingsError(f"{record.where} has no list of steps at {mapping.steps!r}; mend the mapping or the file")
    steps = list(_flat(listed, mapping.children))
    said = [_said(step, mapping, f"step {index} of {record.where}") for index, step in enumerate(steps)]
    index = _gold_step(steps, gold_in, mapping)
    agent = said[index].agent
    if mapping.gold_agent is not None:
        agent = _text(_needed(gold_in.content, mapping.gold_agent, gold_in.where))
    gold = Gold(agent, index, _optional(gold_in.content, mapping.gold_reason))
    try:
        return labelled(_about(record, mapping), said, gold, mapping.name)
    except ValueError as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise SettingsError(f"{record.where} can't be made a labelled trajectory: {fault}; mend it") from error


def _flat(steps: list[JsonValue], children: str | None) -> Iterator[JsonValue]:
    waiting = list(reversed(steps))
    while waiting:
        step = waiting.pop()
        yield step
        below = _at(step, children) if children is not None else None
        if isinstance(below, list):
            waiting.extend(reversed(below))


def _said(step: JsonValue, mapping: Mapping, where: str) -> Said:
    agent = next((found for path in mapping.agent if (found := _optional(step, path))), None)
    if agent is None:
        raise SettingsError(f"{where} has no agent at {' or '.join(map(repr, mapping.agent))}; mend the mapping")
    parts = (_optional(step, path) for path in mapping.content)
    return Said(_CONTROLS.sub(" ", agent)[:256], "\n".join(part for part in parts if part))


def _gold_step(steps: list[JsonValue], gold_in: _Record, mapping: Mapping) -> int:
    named = _text(_needed(gold_in.content, mapping.gold_step, gold_in.where))
    if mapping.step_id is not None:
        found = [index for index, step in enumerate(steps) if _optional(step, mapping.step_id) == named]
        if len(found) != 1:
            raise SettingsError(f"{gold_in.where} labels step {named!r}, which {len(found)} steps are called; mend it")
        return found[0]
    index = int(named) - mapping.first_step if re.fullmatch("[0-9]{1,9}", named) else -1
    if not 0 <= index < len(steps):
        raise SettingsError(f"{gold_in.where} labels step {named!r} of {len(steps)} counted from {mapping.first_step}")
    return index


def _about(record: _Record, mapping: Mapping) -> About:
    return About(
        trajectory_id=record.record_id,
        system=_optional(record.content, mapping.system) or mapping.name,
        task_group=_optional(record.content, mapping.task_group) or record.record_id,
        task=_optional(record.content, mapping.task),
        ground_truth=_optional(record.content, mapping.ground_truth),
        origin=Origin(_text(_needed(record.content, mapping.origin, record.where))),
        part=_optional(record.content, mapping.part) or "",
    )


def _needed(content: JsonValue, path: str, where: str) -> JsonValue:
    found = _at(content, path)
    if found is None:
        raise SettingsError(f"{where} has nothing at {path!r}; mend the mapping or the file")
    return found


def _optional(content: JsonValue, path: str | None) -> str | None:
    found = None if path is None else _at(content, path)
    return None if found is None else _text(found)


def _at(content: JsonValue, path: str) -> JsonValue:
    if path.startswith("="):
        return path[1:]
    for name in _DOT.split(path):
        key = name.replace("\\.", ".")
        if isinstance(content, dict):
            content = content.get(key)
        elif isinstance(content, list) and re.fullmatch("[0-9]{1,9}", key) and int(key) < len(content):
            content = content[int(key)]
        else:
            return None
    return content


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
