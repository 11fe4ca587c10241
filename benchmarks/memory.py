"""What an open trajectory, and a closed one's marker, take in memory, against the bytes that they are counted with.

Each measurement is a process of its own: the growth of its resident memory over many trajectories, and, in another
process since it slows all down, of what Python's allocator was asked for. Two lengths of run tell a step's share from
the trajectory's own.
"""

import contextlib
import ctypes
import gc
import os
import tracemalloc
from pathlib import Path
from statistics import median
from typing import Protocol, TypedDict

from benchmarks.alone import alone
from benchmarks.folding import Folding
from benchmarks.load import Sent, piece
from benchmarks.report import Result, Scale, progress
from streams.assemble import SourceRecord
from streams.worker import collect_garbage_seldom

FEW, MANY = 2, 20
"""Steps of a run that is still open."""
WARM, WARM_STEPS = 1_000, 20
"""Runs that come and go first, so that what a checkpoint takes for a moment is there before anything is weighed."""


class Weight(TypedDict):
    """Bytes a trajectory."""

    resident: float
    allocated: float
    counted: float
    """By the partition's own count, which its limits hold."""


class Measure(Protocol):
    """Weighs so many trajectories of so many steps."""

    __name__: str

    def __call__(self, trajectories: int, steps: int, *, traced: bool) -> Weight:
        """Return what one takes."""


def measure_open(trajectories: int, steps: int, *, traced: bool) -> Weight:
    """Hold so many open trajectories of so many steps each, all written by a checkpoint."""
    return _weigh(Folding(), [(number, steps, steps + 1) for number in range(trajectories)], traced=traced)


def measure_closed(trajectories: int, steps: int, *, traced: bool) -> Weight:
    """Hold the markers of so many closed trajectories of so many steps."""
    return _weigh(Folding(), [(number, steps, steps) for number in range(trajectories)], traced=traced)


def _weigh(folding: Folding, runs: list[tuple[int, int, int]], *, traced: bool) -> Weight:
    collect_garbage_seldom()
    for number in range(min(WARM, len(runs))):
        folding.fold(_records(folding, len(runs) + number, WARM_STEPS, WARM_STEPS))
    folding.checkpoint()
    if traced:
        tracemalloc.start()
    gc.collect()
    resident, allocated = _resident(), _allocated()
    counted = _counted(folding)
    for number, end, steps in runs:
        folding.fold(_records(folding, number, end, steps))
    folding.checkpoint()
    gc.collect()
    return Weight(
        resident=(_resident() - resident) / len(runs),
        allocated=(_allocated() - allocated) / len(runs),
        counted=(_counted(folding) - counted) / len(runs),
    )


def _records(folding: Folding, number: int, end: int, steps: int) -> list[SourceRecord]:
    whole = piece(f"t-{number:06d}-00000", 0, end, steps)
    return folding.records(Sent(whole.key, line) for line in whole.value.split(b"\n"))


def _counted(folding: Folding) -> int:
    return folding.assembler.open_bytes + folding.assembler.marker_bytes


def _resident() -> int:
    """Return what this process has in memory, once what the allocator holds and nobody uses is given back."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _allocated() -> int:
    return tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0


def _measured(measure: Measure, trajectories: int, steps: int, rounds: int) -> Weight:
    seen = [alone(measure, trajectories, steps, traced=False) for _ in range(rounds)]
    allocated = alone(measure, trajectories, steps, traced=True)["allocated"]
    resident = median(one["resident"] for one in seen)
    progress(f"memory: {measure.__name__} of {steps} steps: {resident:,.0f} bytes resident, {allocated:,.0f} allocated")
    return Weight(resident=resident, allocated=allocated, counted=seen[0]["counted"])


def results(scale: Scale) -> list[Result]:
    """Weigh open and closed trajectories."""
    trajectories = scale.of(5_000, 1_000)
    few, many = (_measured(measure_open, trajectories, steps, scale.rounds) for steps in (FEW, MANY))
    closed = _measured(measure_closed, trajectories, MANY, scale.rounds)
    a_step = (many["allocated"] - few["allocated"]) / (MANY - FEW)
    counted_step = (many["counted"] - few["counted"]) / (MANY - FEW)
    own = few["allocated"] - FEW * a_step
    what = f"an open trajectory of {MANY} steps; allocated are {own:,.0f} for itself and {a_step:,.0f} a step"
    step, event = f"{a_step:,.0f} bytes allocated", f"its event {counted_step:,.0f}"
    return [
        _result(what, many, "its events", scale),
        Result("memory, step", "a step more of an open trajectory", step, event, a_step / counted_step),
        _result(f"a closed trajectory of {MANY} steps, for the late window", closed, "as it is counted", scale),
    ]


def _result(what: str, weight: Weight, base: str, scale: Scale) -> Result:
    ours = f"{weight['resident']:,.0f} bytes resident ({weight['allocated']:,.0f} allocated)"
    ratio = weight["resident"] / weight["counted"]
    return Result("memory", what, ours, f"{base} {weight['counted']:,.0f}", ratio, rounds=scale.rounds)
