"""What workers write down of themselves, for the check: what they restored, folded and committed, and who was struck.

Rules: a line is one write to a file opened for appending, so a kill -9 loses none; a strike's line is on the disk
before the blow falls; times are the machine's monotonic clock, which all its processes share.
"""

import json
import os
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from ops.roles import Role

from .points import Blow, Point

FOLDER = "AGENTRACER_CHAOS_FOLDER"
"""The variable that names the folder of arms and journals, shared by the workers of one run."""
NAME = "AGENTRACER_CHAOS_NAME"
"""The variable that names the worker."""
DUMP = "dump"
"""A file of this name in the folder asks all workers to write down what their tasks wait for."""
_HITS = "hits.jsonl"


class Kind(StrEnum):
    """What a line tells; offsets are those of `step-events` that would be folded next."""

    STARTED = "started"
    ASSIGNED = "assigned"
    """The worker has this many partitions now (in `offset`)."""
    RESTORED = "restored"
    """A partition was taken over, to go on from the offset."""
    FIRST = "first"
    """The first record delivered after that."""
    FOLDED = "folded"
    COMMITTED = "committed"
    """A transaction stands that includes the source up to the offset."""


class Entry(NamedTuple):
    """One line."""

    at: float
    worker: str
    kind: Kind
    partition: int
    offset: int


class Hit(NamedTuple):
    """A worker that was struck."""

    number: int
    point: Point
    blow: Blow
    worker: str
    pid: int
    at: float


class Journal:
    """One worker's own file."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._worker = worker
        self._file = os.open(folder / f"journal-{worker}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, kind: Kind, partition: int = -1, offset: int = -1) -> None:
        """Add a line."""
        entry = Entry(time.monotonic(), self._worker, kind, partition, offset)
        os.write(self._file, json.dumps(entry).encode() + b"\n")


class Journals:
    """All workers' files, read as they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._entries: list[Entry] = []
        self._assigned: list[Entry] = []

    def entries(self) -> list[Entry]:
        """Return everything that is there by now, in the order of its time."""
        self._look()
        return sorted(self._entries)

    def assigned(self, since: float) -> set[str]:
        """Return the workers that have had an assignment since."""
        self._look()
        return {entry.worker for entry in self._assigned if entry.at > since}

    def _look(self) -> None:
        for path in self._folder.glob("journal-*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                found = file.read()
            whole = found[: found.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                at, worker, kind, partition, offset = json.loads(line)
                self._entries.append(Entry(at, worker, Kind(kind), partition, offset))
                if kind == Kind.ASSIGNED:
                    self._assigned.append(self._entries[-1])


def arm(folder: Path, number: int, point: Point, blow: Blow) -> None:
    """Arm a point: whoever reaches it first, with work in hand, is struck."""
    path = _armed(folder, point.role, blow)
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{number}\n{point}")
    fresh.rename(path)


def disarm(folder: Path, role: Role, blow: Blow) -> bool:
    """Take an arm back; False when somebody has been struck by it."""
    try:
        _armed(folder, role, blow).rename(folder / "disarmed")
    except FileNotFoundError:
        return False
    return True


def armed(folder: Path, role: Role, blow: Blow) -> tuple[int, Point] | None:
    """Return the number and point that are armed for a role, if there are."""
    try:
        number, point = _armed(folder, role, blow).read_text().split("\n")
    except FileNotFoundError:
        return None
    return int(number), Point(point)


def claim(folder: Path, number: int, point: Point, blow: Blow, worker: str) -> bool:
    """Take an armed blow on oneself, and write that down; False when another was faster."""
    try:
        _armed(folder, point.role, blow).rename(folder / f"claimed-{number}")
    except FileNotFoundError:
        return False
    hit = Hit(number, point, blow, worker, os.getpid(), time.monotonic())
    file = os.open(folder / _HITS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, json.dumps(hit).encode() + b"\n")
    os.fsync(file)
    os.close(file)
    return True


def hits(folder: Path) -> Iterator[Hit]:
    """Return the strikes so far, in their order."""
    path = folder / _HITS
    for line in path.read_text().splitlines() if path.exists() else ():
        number, point, blow, worker, pid, at = json.loads(line)
        yield Hit(number, Point(point), Blow(blow), worker, pid, at)


def _armed(folder: Path, role: Role, blow: Blow) -> Path:
    return folder / f"arm-{role}-{blow}"
