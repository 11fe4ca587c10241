"""The pure assembler: the cost of an event with 1,000 and with 100,000 open trajectories.

Fold, close, checkpoint and restore-ready state are all in it; validation is timed apart, on the same events.
"""

import gc
import time
from statistics import median
from typing import NamedTuple

from benchmarks.load import interleaved
from schemas.wire import read_line
from streams.assemble import Assembler, SourceRecord
from streams.checkpoint import collect, committed, due
from streams.limits import Limits
from streams.route import RoutingRules

EVENTS = 200_000
CHECKPOINT = 10_000
START_MS = 1_767_225_600_000


class Cost(NamedTuple):
    """Microseconds an event."""

    validate: float
    assemble: float


def measure(open_trajectories: int) -> Cost:
    """Fold EVENTS events after a lap that opens all trajectories."""
    events = [raw for _, raw in interleaved(EVENTS + open_trajectories, open_trajectories)]
    assembler = Assembler(0, 1, Limits())
    rules = RoutingRules()
    for at in range(open_trajectories):
        assembler.fold(SourceRecord(at, START_MS, None, events[at]))
    _checkpoint(assembler, rules)
    records = [SourceRecord(at, START_MS + at // 100, None, events[at]) for at in range(open_trajectories, len(events))]
    gc.collect()
    gc.freeze()
    started = time.perf_counter()
    for raw in events[open_trajectories:]:
        read_line(raw)
    validated = time.perf_counter()
    for number, record in enumerate(records, 1):
        assembler.fold(record)
        if number % CHECKPOINT == 0:
            _checkpoint(assembler, rules)
    done = time.perf_counter()
    gc.unfreeze()
    return Cost((validated - started) / EVENTS * 1e6, (done - validated) / EVENTS * 1e6)


def _checkpoint(assembler: Assembler, rules: RoutingRules) -> None:
    checkpoint = collect(assembler, due(assembler), {}, rules)
    places = list(range(len(checkpoint.closed)))
    checkpoint.records(places)
    for one, _ in checkpoint.closed:
        one.value()
    committed(assembler, checkpoint, places)


def main(rounds: int = 5) -> dict[str, float]:
    """Print and return the table."""
    few, many = [], []
    for _ in range(rounds):
        few.append(measure(1_000))
        many.append(measure(100_000))
    validate = median(cost.validate for cost in few)
    one, other = median(cost.assemble for cost in few), median(cost.assemble for cost in many)
    ratio = median(b.assemble / a.assemble for a, b in zip(few, many, strict=True))
    print("pure assembler, validation included, µs an event (median of", rounds, "rounds)")
    print(f"    validation alone          {validate:6.2f}")
    print(f"    1,000 open                {one:6.2f}   {one / validate:.2f} of validation alone")
    print(f"    100,000 open              {other:6.2f}   {ratio:.2f} of 1,000 open")
    return {"validate_us": validate, "open_1000_us": one, "open_100000_us": other, "ratio": ratio}


if __name__ == "__main__":
    main()
