"""Our own format, TracerTraj: JSON lines, each a LabelledTrajectory; read from a file or every .jsonl of a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import TypeAdapter

from .files import files_of, lines_of, parse
from .labelled import LabelledTrajectory

EXPECTED = "a line of TracerTraj (trajectory, label, origin, task_group)"
_FORM = TypeAdapter(LabelledTrajectory)


def items(path: Path) -> Iterator[LabelledTrajectory]:
    """Read the labelled trajectories of a file or a folder."""
    for file in files_of(path, ".jsonl"):
        for line in lines_of(file):
            yield parse(line.raw, _FORM, where=f"line {line.number} of {str(file)!r}", expected=EXPECTED)


def write(file: Path, kept: Iterable[LabelledTrajectory]) -> None:
    """Write labelled trajectories as `items` reads them."""
    with file.open("w", encoding="utf-8") as out:
        out.writelines(f"{item.model_dump_json(exclude_none=True)}\n" for item in kept)
