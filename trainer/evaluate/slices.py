"""Which trajectories are reported together: all, each part, each range of lengths, each origin, each kind.

Rules: a slice that is the whole data set is not repeated; the ranges of lengths are fixed, so that they can be
compared between data sets.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from .labelled import LabelledTrajectory

By = Literal["all", "part", "length", "origin", "kind"]
LENGTHS = ((1, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, None))


class Slice(NamedTuple):
    """Some of the trajectories, by their place in the data set."""

    by: By
    name: str
    places: tuple[int, ...]


def slices_of(items: Sequence[LabelledTrajectory]) -> list[Slice]:
    """Return every slice that holds something."""
    return [
        Slice("all", "all", tuple(range(len(items)))),
        *_apart("part", [(item.part,) for item in items]),
        *_apart("origin", [(item.origin.value,) for item in items]),
        *_apart("kind", [item.kinds for item in items]),
        *_lengths(items),
    ]


def length_name(first: int, last: int | None) -> str:
    """Return how a range of lengths is called."""
    return f"{first}-{last}" if last is not None else f"{first}+"


def _lengths(items: Sequence[LabelledTrajectory]) -> Iterator[Slice]:
    for first, last in LENGTHS:
        places = tuple(
            place for place, item in enumerate(items) if first <= item.length and (last is None or item.length <= last)
        )
        if places:
            yield Slice("length", length_name(first, last), places)


def _apart(by: By, names: Sequence[Sequence[str]]) -> Iterator[Slice]:
    for name in sorted({name for own in names for name in own if name}):
        places = tuple(place for place, own in enumerate(names) if name in own)
        if len(places) < len(names):
            yield Slice(by, name, places)
