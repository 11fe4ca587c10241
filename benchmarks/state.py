"""What the assembler's state costs on its topic: bytes written to `assembler-state` over bytes of the steps.

Counted is every record, keys, segments, markers, tombstones and the source alike, uncompressed, over a trajectory's
whole life, up to the tombstone of its marker after the late window. Counting is exact: one round says it all.

    outlives   runs that are open across checkpoints; over the bytes of those of their steps that a checkpoint found
               in an open run and so wrote to the state, once, in a segment
    between    runs that open and close between two checkpoints: no content at all, a marker's entry a step
"""

from typing import NamedTuple

from benchmarks.folding import START_MS, Folding
from benchmarks.load import Sent, in_turn, opened, piece, up_to
from benchmarks.report import Result, Scale, Target, progress
from streams.limits import Limits

OPEN, STEPS = 1_000, 40
SHORT, LONG = 10, 100


class Weight(NamedTuple):
    """Bytes."""

    state: int
    steps: int
    trajectories: int


def outliving(segment_steps: int, laps: int, opened_at_once: int = OPEN) -> Weight:
    """Fold runs of 40 steps, so many of each between two checkpoints, until all of them are closed and forgotten."""
    folding = Folding(checkpoint_events=opened_at_once * segment_steps, weighs_steps=True)
    sent = [
        *opened(opened_at_once, STEPS),
        *up_to(in_turn(opened_at_once, STEPS), laps * STEPS * opened_at_once),
    ]
    folding.fold(folding.records(sent))
    _after_the_late_window(folding)
    return Weight(folding.state_bytes, folding.outlived_bytes, opened_at_once * (laps + 1))


def between(steps: int, trajectories: int) -> Weight:
    """Fold whole runs one after the other, all within one checkpoint."""
    folding = Folding(checkpoint_events=steps * trajectories + 1)
    sent = [_run(number, steps) for number in range(trajectories)]
    records = folding.records(Sent(one.key, line) for one in sent for line in one.value.split(b"\n"))
    folding.fold(records)
    assert len(folding.checkpoint().closed) == trajectories, "all ended before the checkpoint"
    _after_the_late_window(folding)
    return Weight(folding.state_bytes, sum(len(one.value or b"") for one in records), trajectories)


def _run(number: int, steps: int) -> Sent:
    return piece(f"t-{number:06d}-00000", 0, steps, steps)


def _after_the_late_window(folding: Folding) -> None:
    """Let everything fall idle and every marker go, with a checkpoint after each."""
    assembler, limits = folding.assembler, Limits()
    assembler.clock.time_ms += limits.idle_ms + 1
    folding.checkpoint()
    assembler.clock.time_ms += limits.late_window_ms + 1
    folding.checkpoint()
    assert not assembler.open
    assert not assembler.markers
    assert assembler.clock.time_ms > START_MS


def results(scale: Scale) -> list[Result]:
    """Count all."""
    progress("state: counting")
    laps = scale.of(3, 1)
    opened_at_once = scale.of(OPEN, 100)
    many, one = (outliving(steps, laps, opened_at_once) for steps in (10, 1))
    short, long = (between(steps, scale.of(500, 50)) for steps in (SHORT, LONG))
    a_run = (short.state / short.trajectories, long.state / long.trajectories)
    a_step = (a_run[1] - a_run[0]) / (LONG - SHORT)
    constant = a_run[0] - a_step * SHORT
    within = Target(at_most=1.2)
    return [
        _outlives("ten steps a segment", many, within),
        _outlives("one step a segment", one, within),
        Result(
            "state, between",
            f"bytes a step that opens and closes between two checkpoints, and {constant:.0f} bytes a run",
            f"{a_step:.1f} bytes a step",
            f"{short.steps / SHORT / short.trajectories:.0f} bytes of a step's event",
            a_step,
            Target(at_most=16),
        ),
    ]


def _outlives(how: str, weight: Weight, within: Target) -> Result:
    return Result(
        "state, outlives",
        f"state of runs open across checkpoints, {how}",
        f"{weight.state / 1e6:.1f} MB",
        f"the steps in it {weight.steps / 1e6:.1f} MB",
        weight.state / weight.steps,
        within,
    )
