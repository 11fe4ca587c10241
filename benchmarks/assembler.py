"""The pure assembler: what an event costs with few and many trajectories open, and in short and long ones.

Fold, close and checkpoint are in it, down to the bytes of every record; validation too, and it is timed alone beside.
All have the same mix: runs of six steps, as many ending an event whatever is open, begun at their first step before
the clock runs. The time is the CPU's, each measurement a process of its own with the worker's own settings of the
garbage collector.
"""

import time
from statistics import median
from typing import TypedDict

from benchmarks.alone import alone
from benchmarks.folding import Folding
from benchmarks.load import Sent, in_turn, opened, outcome_of, piece, up_to
from benchmarks.report import Result, Scale, Target, progress
from schemas.wire import read_line
from streams.worker import collect_garbage_seldom

STEPS = 6
FLAT = Target(at_most=1.3)
LONG, SHORT = 10_000, 100
OFTEN = 1_000
"""Events of a checkpoint where trajectories are compared by their length: the long one has ten segments."""


class Cost(TypedDict):
    """Microseconds an event."""

    validate: float
    assemble: float


def measure_open(open_trajectories: int, events: int) -> Cost:
    """Fold events with so many trajectories open."""
    collect_garbage_seldom()
    folding = Folding()
    for record in opened(open_trajectories, STEPS):
        folding.fold(folding.records([record]))
    folding.checkpoint()
    records = folding.records(up_to(in_turn(open_trajectories, STEPS), events))
    began = time.process_time()
    for one in records:
        assert one.value is not None
        read_line(one.value)
    validated = time.process_time()
    folding.fold(records)
    folding.checkpoint()
    done = time.process_time()
    return Cost(validate=(validated - began) / events * 1e6, assemble=(done - validated) / events * 1e6)


def measure_length(trajectories: int, steps: int, laps: int) -> float:
    """Fold so many trajectories of so many steps, all open at once, and return microseconds an event."""
    collect_garbage_seldom()
    taken = 0.0
    for lap in range(laps):
        folding = Folding(checkpoint_events=OFTEN)
        records = folding.records(_side_by_side(trajectories, steps, lap))
        began = time.process_time()
        folding.fold(records)
        folding.checkpoint()
        taken += time.process_time() - began
        assert not folding.assembler.open, "all have ended"
    return taken / (laps * trajectories * steps) * 1e6


def _side_by_side(trajectories: int, steps: int, lap: int) -> list[Sent]:
    return [
        piece(f"t-{number:06d}-{lap:05d}", index, index + 1, steps, outcome_of(f"t-{number:06d}-{lap:05d}"))
        for index in range(steps)
        for number in range(trajectories)
    ]


def _open(scale: Scale) -> list[Result]:
    events = scale.of(200_000, 10_000)
    numbers = [1_000, scale.of(10_000, 2_000), scale.of(100_000, 5_000)]
    rounds: list[list[Cost]] = []
    for number in range(1, scale.rounds + 1):
        rounds.append([alone(measure_open, one, events) for one in numbers])
        told = ", ".join(f"{cost['assemble']:.1f}" for cost in rounds[-1])
        progress(f"assembler: round {number} of {scale.rounds}: {told} µs an event")
    few = median(costs[0]["assemble"] for costs in rounds)
    alone_us = median(costs[0]["validate"] for costs in rounds)
    results = [
        Result(
            "assembler, open",
            f"an event with {numbers[0]:,} open",
            f"{few:.1f} µs",
            f"validation alone {alone_us:.1f} µs",
            median(costs[0]["assemble"] / costs[0]["validate"] for costs in rounds),
            rounds=len(rounds),
        )
    ]
    for place, many in enumerate(numbers[1:], 1):
        each = median(costs[place]["assemble"] for costs in rounds)
        ratio = median(costs[place]["assemble"] / costs[0]["assemble"] for costs in rounds)
        what, base = f"an event with {many:,} open", f"{numbers[0]:,} open {few:.1f} µs"
        results.append(Result("assembler, open", what, f"{each:.1f} µs", base, ratio, FLAT, len(rounds)))
    return results


def _length(scale: Scale) -> Result:
    steps, laps = scale.of(LONG, 1_000), scale.of(5, 2)
    number = steps // SHORT
    pairs = []
    for at in range(1, scale.rounds + 1):
        pairs.append((alone(measure_length, 1, steps, laps), alone(measure_length, number, SHORT, laps)))
        progress(f"trajectory length: round {at} of {scale.rounds}: {pairs[-1][0]:.1f} over {pairs[-1][1]:.1f} µs")
    return Result(
        "assembler, length",
        f"an event of one trajectory of {steps:,} steps",
        f"{median(one for one, _ in pairs):.1f} µs",
        f"{number} of {SHORT} steps {median(other for _, other in pairs):.1f} µs",
        median(one / other for one, other in pairs),
        FLAT,
        len(pairs),
    )


def results(scale: Scale) -> list[Result]:
    """Measure both."""
    return [*_open(scale), _length(scale)]
