"""From the name of a form and a path to a data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, assert_never

from schemas.errors import SettingsError

from . import mapped, tracertraj, who_and_when
from .labelled import Dataset, LabelledTrajectory, dataset_of

Form = Literal["who-and-when", "tracertraj", "mapped"]


def load(form: Form, path: Path, mapping: Path | None = None) -> Dataset:
    """Read a whole data set; raises SettingsError for what is not of that form, and for an id that comes twice."""
    if (mapping is not None) != (form == "mapped"):
        raise SettingsError("a mapping file goes with the form 'mapped' and with no other; give --mapping FILE there")
    name, found = _items(form, path, mapping)
    dataset = dataset_of(name, found)
    if not dataset.items:
        raise SettingsError(f"{str(path)!r} holds no labelled trajectory; give another file or folder")
    seen: set[str] = set()
    for item in dataset.items:
        if item.trajectory.trajectory_id in seen:
            raise SettingsError(f"{item.trajectory.trajectory_id!r} comes twice in {str(path)!r}; give each an id")
        seen.add(item.trajectory.trajectory_id)
    return dataset


def _items(form: Form, path: Path, mapping: Path | None) -> tuple[str, Iterator[LabelledTrajectory]]:
    match form:
        case "who-and-when":
            return form, who_and_when.items(path)
        case "tracertraj":
            return f"tracertraj {path.name}", tracertraj.items(path)
        case "mapped":
            assert mapping is not None
            read = mapped.read_mapping(mapping)
            return read.name, mapped.items(path, read)
        case _:
            assert_never(form)
