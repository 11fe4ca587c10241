"""Ask tracers about every trajectory of a data set, many at once, and go on where an earlier run was ended.

Rules: an answer is kept under a key of data set, method, tracer version and options, so nothing is taken over from
another; it is appended as one line as soon as it is there, and a line that a kill cut off is asked again; without the
ground truth a tracer is given a trajectory that doesn't hold it; an answer that fails is a miss, is not kept, and ends
the run only when so many fail in a row that something is wrong with the tracer itself.
"""

import asyncio
import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from schemas.errors import AgentracerError, SettingsError
from tracer.protocol import Finding, Tracer

from .hits import Kind, Row, row
from .labelled import Dataset, LabelledTrajectory, without_truth

FAILURES_IN_A_ROW = 5
NOTHING: Mapping[str, str] = MappingProxyType({})


class Entry(NamedTuple):
    """One row that is to be filled: a tracer, and how it is asked."""

    name: str
    tracer: Tracer
    shows_truth: bool = False
    options: Mapping[str, str] = NOTHING
    """What its answers depend on beside its version: seeds, budgets."""
    kind: Kind = "model-free"


class Answered(BaseModel):
    """One line of the results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    method: str
    trajectory_id: str
    finding: Finding
    seconds: float
    """From asking to answer, with others under way beside it."""


class Failed(NamedTuple):
    """An answer that didn't come."""

    method: str
    trajectory_id: str
    why: str


Outcome = Answered | Failed
Noted = Callable[[Outcome], None]


def key_of(dataset: Dataset, entry: Entry) -> str:
    """Return what every answer of one row on one data set is kept under."""
    parts = [
        dataset.digest,
        entry.name,
        entry.tracer.name,
        entry.tracer.version,
        entry.shows_truth,
        sorted(entry.options.items()),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


class Results:
    """The file of answers; held by one process at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._out: BinaryIO | None = None
        self._kept: dict[tuple[str, str], Answered] = {}

    def __enter__(self) -> Self:
        try:
            self._out = self._file.open("a+b")
        except OSError as error:
            raise SettingsError(f"{str(self._file)!r} can't be written: {error.strerror}; name another") from error
        try:
            fcntl.flock(self._out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._out.close()
            raise SettingsError(f"{str(self._file)!r} is in use by another run; wait, or name another") from error
        try:
            self._take_over(self._out)
        except BaseException:
            self._out.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._out is not None:
            self._out.close()

    def get(self, key: str, trajectory_id: str) -> Answered | None:
        """Return the answer that is kept, if one is."""
        return self._kept.get((key, trajectory_id))

    def keep(self, answered: Answered) -> None:
        """Append an answer."""
        self._kept[answered.key, answered.trajectory_id] = answered
        if self._out is not None:
            self._out.write(answered.model_dump_json(exclude_defaults=True).encode() + b"\n")
            self._out.flush()

    def _take_over(self, out: BinaryIO) -> None:
        out.seek(0)
        content = out.read()
        whole, _, torn = content.rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
            answered = self._read(line, number)
            self._kept[answered.key, answered.trajectory_id] = answered
        if torn:
            if not whole and not torn.startswith(b'{"key":'):
                self._read(torn, 1)
            out.truncate(len(content) - len(torn))

    def _read(self, line: bytes, number: int) -> Answered:
        try:
            return _ANSWERED.validate_json(line)
        except ValidationError as error:
            raise SettingsError(
                f"line {number} of {str(self._file)!r} is no answer of an evaluation; name another file for the results"
            ) from error


_ANSWERED = TypeAdapter(Answered)


async def run(
    dataset: Dataset,
    entries: Sequence[Entry],
    *,
    results: Results,
    concurrency: int,
    on_outcome: Noted = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Row]:
    """Fill the rows, asking only what the results don't hold yet; raises what the tracer raises when it has broken."""
    failed: dict[tuple[str, str], Failed] = {}
    waiting = iter([(entry, item) for entry in entries for item in unanswered(dataset, entry, results)])
    recent: list[bool] = []

    async def ask() -> None:
        for entry, item in waiting:
            outcome = await _asked(dataset, entry, item, clock, is_last_straw=_is_broken(recent))
            recent.append(isinstance(outcome, Answered))
            if isinstance(outcome, Answered):
                results.keep(outcome)
            else:
                failed[outcome.method, outcome.trajectory_id] = outcome
            on_outcome(outcome)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(ask())
    except* AgentracerError as errors:
        raise _first(errors) from None
    return [_row(dataset, entry, results, failed) for entry in entries]


def unanswered(dataset: Dataset, entry: Entry, results: Results) -> Iterator[LabelledTrajectory]:
    """Yield the trajectories that are still to be asked about."""
    key = key_of(dataset, entry)
    return (item for item in dataset.items if results.get(key, item.trajectory.trajectory_id) is None)


async def _asked(
    dataset: Dataset, entry: Entry, item: LabelledTrajectory, clock: Callable[[], float], *, is_last_straw: bool
) -> Outcome:
    trajectory_id = item.trajectory.trajectory_id
    shown = item.trajectory if entry.shows_truth else without_truth(item.trajectory)
    key, started = key_of(dataset, entry), clock()
    try:
        finding = await entry.tracer.trace(shown)
    except AgentracerError as error:
        if is_last_straw:
            raise
        return Failed(entry.name, trajectory_id, str(error))
    return Answered(key=key, method=entry.name, trajectory_id=trajectory_id, finding=finding, seconds=clock() - started)


def _is_broken(recent: Sequence[bool]) -> bool:
    last = recent[1 - FAILURES_IN_A_ROW :]
    return len(last) == FAILURES_IN_A_ROW - 1 and not any(last)


def _first(errors: BaseExceptionGroup[AgentracerError]) -> AgentracerError:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AgentracerError)
    return error


def _row(dataset: Dataset, entry: Entry, results: Results, failed: Mapping[tuple[str, str], Failed]) -> Row:
    key = key_of(dataset, entry)
    answers = [results.get(key, item.trajectory.trajectory_id) for item in dataset.items]
    misses = [one for (method, _), one in failed.items() if method == entry.name]
    return row(
        entry.name,
        entry.kind,
        dataset.items,
        [answer.finding if answer else None for answer in answers],
        seconds=[answer.seconds if answer else float("nan") for answer in answers],
        version=entry.tracer.version,
        note=f"{len(misses)} failed, the first: {misses[0].why}" if misses else "",
        options={**entry.options, "ground_truth": "shown" if entry.shows_truth else "hidden"},
    )
