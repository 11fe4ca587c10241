"""The files of a data set; whatever is wrong with one is a SettingsError that names it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from schemas.errors import SettingsError

T = TypeVar("T")


class NumberedLine(NamedTuple):
    """One line that isn't blank; numbers count from 1."""

    number: int
    raw: bytes


def read_bytes(file: Path) -> bytes:
    """Return what a file holds, which is something."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{str(file)!r} can't be read: {error.strerror or error}; name another file") from error
    if not content.strip():
        raise SettingsError(f"{str(file)!r} is empty; name a file with something in it")
    return content


def files_of(path: Path, suffix: str = ".json") -> list[Path]:
    """Return the file itself, or every such file below a folder, `2.json` before `10.json`."""
    if path.is_file():
        return [path]
    if not path.exists():
        raise SettingsError(f"there is nothing at {str(path)!r}; give a file or a folder of labelled trajectories")
    found = sorted((file for file in path.rglob(f"*{suffix}") if file.is_file()), key=_natural)
    if not found:
        raise SettingsError(f"the folder {str(path)!r} holds no {suffix} file; give one with labelled trajectories")
    return found


def lines_of(file: Path) -> Iterator[NumberedLine]:
    """Yield a file's lines that aren't blank."""
    for number, line in enumerate(read_bytes(file).split(b"\n"), start=1):
        if line.strip():
            yield NumberedLine(number, line)


def parse(raw: bytes, form: TypeAdapter[T], *, where: str, expected: str) -> T:
    """Read JSON of a given form."""
    try:
        return form.validate_json(raw)
    except ValidationError as error:
        raise SettingsError(f"{where} is not {expected}: {first_fault(error)}; mend it") from error


def first_fault(error: ValidationError) -> str:
    """Return in a few words the first thing that is wrong, without the content it is wrong in."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(file))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
