"""From a path to recorded runs: which form its files have, and the loader for it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, assert_never

from ops.recorded import jsonl, tau_bench, who_and_when
from ops.recorded.files import existing, json_files
from ops.recorded.run import RecordedRun
from schemas.errors import SettingsError

Kind = Literal["jsonl", "who-and-when", "tau-bench"]
_LINES = (".jsonl", ".ndjson")
_EXPECTED = "; or ".join((jsonl.EXPECTED + " (.jsonl or .ndjson)", who_and_when.EXPECTED, tau_bench.EXPECTED))


@dataclass(frozen=True)
class Recording:
    """The runs at a path, read anew each time it is iterated, so that they can be sent lap by lap."""

    kind: Kind
    path: Path
    base: datetime | None = None
    """When runs that carry no times of their own began; without it, their file's time of modification."""

    def __iter__(self) -> Iterator[RecordedRun]:
        return load(self.kind, self.path, self.base)


def load(kind: Kind, path: Path, base: datetime | None = None) -> Iterator[RecordedRun]:
    """Read the runs at a path, one at a time; raises SettingsError for what is not of that form."""
    match kind:
        case "jsonl":
            return jsonl.runs(path, base)
        case "who-and-when":
            return who_and_when.runs(path, base)
        case "tau-bench":
            return tau_bench.runs(path, base)
        case _:
            assert_never(kind)


def detect(path: Path) -> Kind:
    """Tell the form of what is at a path by its name, and by what its first JSON file holds."""
    if existing(path).is_file() and path.suffix.lower() in _LINES:
        return "jsonl"
    if path.is_file() and path.suffix.lower() != ".json":
        raise SettingsError(f"{str(path)!r} is of no form that can be read here; give {_EXPECTED}")
    first = json_files(path)[0]
    try:
        content = json.loads(first.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{str(first)!r} is no JSON ({error}); give {_EXPECTED}") from error
    if isinstance(content, list):
        return "tau-bench"
    if isinstance(content, dict) and "history" in content:
        return "who-and-when"
    raise SettingsError(f"{str(first)!r} is of no form that can be read here; give {_EXPECTED}")
