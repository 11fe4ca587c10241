"""The recorded files of a path, and what they hold; whatever is wrong with one is a SettingsError that names it."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from schemas.errors import SettingsError
from schemas.fields import EARLIEST

T = TypeVar("T")


def existing(path: Path) -> Path:
    """Return the path, if there is something to read at it."""
    if not path.exists():
        raise SettingsError(f"there is nothing at {str(path)!r}; give a file or a folder of recorded runs")
    if path.is_file() and path.stat().st_size == 0:
        raise SettingsError(f"{str(path)!r} is empty; give a file with recorded runs")
    return path


def json_files(path: Path) -> list[Path]:
    """Return the file itself, or every JSON file below a folder, `2.json` before `10.json`."""
    if existing(path).is_file():
        return [path]
    found = sorted((file for file in path.rglob("*.json") if file.is_file()), key=_natural)
    if not found:
        raise SettingsError(f"the folder {str(path)!r} holds no .json file; give one with recorded runs")
    return found


def read_json(file: Path, form: TypeAdapter[T], expected: str) -> T:
    """Read one JSON file of a given form."""
    try:
        return form.validate_json(existing(file).read_bytes())
    except ValidationError as error:
        raise SettingsError(f"{str(file)!r} is not {expected}: {_first(error)}") from error


def unsendable(file: Path, trajectory_id: str, error: ValidationError) -> SettingsError:
    """Return the error that says which run of a file can't be made step events, and why."""
    return SettingsError(f"{trajectory_id!r} in {str(file)!r} can't be sent as step events: {_first(error)}; mend it")


def recorded_at(file: Path) -> datetime:
    """Return the file's time of modification, never before the earliest time a step may have."""
    return max(datetime.fromtimestamp(file.stat().st_mtime, UTC), EARLIEST)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole file'}: {first['msg']}"


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(file))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
