"""Draws the failed runs that the embedded tracer is trained, calibrated and scored on, each with its decisive step.

    python -m trainer.steps.runs            a table of how many there are, by split, kind and sight

Rules: the truth is the earliest step whose correction turns the outcome, found by playing the run again from every
step, not where a mistake was planted; a run without such a step is not used; the same seed gives the same runs; no
task is in two splits; runs to train on hold no mistake of a held-out kind anywhere.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from schemas import CloseReason, KeySource, Trajectory
from trainer.fleet.chance import stream
from trainer.simulator import ALL, MISTAKE_RATE, Run, decisive_step, events, simulate

from .kinds import HELD_OUT_SYSTEM, Sight, is_held_out, kind_of, sight_of

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TASKS = 2**28
"""So many tasks there are in a split."""


class Split(StrEnum):
    """What runs are for."""

    TRAIN = "train"
    """To be trained on."""
    CALIBRATE = "calibrate"
    """To fit the confidence and to choose by; not scored."""
    SEEDS = "seeds"
    """Scored: tasks never seen, mistakes of kinds that were."""
    KINDS = "kinds"
    """Scored: the decisive mistake is of a kind that no run trained on holds."""
    SHAPE = "shape"
    """Scored: a system that none was trained on."""


SCORED = (Split.SEEDS, Split.KINDS, Split.SHAPE)
RATES = (MISTAKE_RATE / 4, MISTAKE_RATE)
"""Half of the runs to train on are of agents that err less, so that many hold the decisive mistake and no other."""
COUNTS = {Split.TRAIN: 1200, Split.CALIBRATE: 120, Split.SEEDS: 120, Split.KINDS: 120, Split.SHAPE: 120}
"""How many runs each split has."""


class Labelled(NamedTuple):
    """A failed run, the step that decided it, and what was wrong there."""

    run: Run
    step_index: int
    kind: str
    sight: Sight

    @property
    def agent(self) -> str:
        """Who acted at the decisive step."""
        return self.run.actions[self.step_index].agent


def labelled(run: Run) -> Labelled | None:
    """Return a run with its decisive step; None where it did not fail, or no single correction turns it."""
    step_index = decisive_step(run)
    if step_index is None:
        return None
    kind = kind_of(run, step_index)
    assert kind is not None, "only a mistake is worth a correction"
    return Labelled(run, step_index, kind, sight_of(run, step_index, kind))


def draw(split: Split, count: int, seed: int = 0) -> Iterator[Labelled]:
    """Draw the runs of a split; a larger count goes on where a smaller one ends."""
    number = 0
    while count:
        found = labelled(_run(split, seed, number))
        number += 1
        if found is not None and _belongs(split, found):
            count -= 1
            yield found


def _run(split: Split, seed: int, number: int) -> Run:
    rng = stream("steps", split, seed, number)
    others = [system for system in ALL if system != HELD_OUT_SYSTEM]
    system = HELD_OUT_SYSTEM if split is Split.SHAPE else rng.choice(others)
    task = rng.randrange(TASKS) * len(Split) + list(Split).index(split)
    return simulate(system, task, mistake_rate=rng.choice(RATES) if split is Split.TRAIN else MISTAKE_RATE)


def _belongs(split: Split, found: Labelled) -> bool:
    match split:
        case Split.SHAPE:
            return True
        case Split.KINDS:
            return is_held_out(found.run.system, found.kind)
        case Split.TRAIN | Split.CALIBRATE | Split.SEEDS:
            return not any(is_held_out(found.run.system, kind) for kind in kinds_in(found.run))


def kinds_in(run: Run) -> list[str]:
    """Return the kinds of all mistakes of a run."""
    return [kind for step_index in run.mistakes if (kind := kind_of(run, step_index)) is not None]


def trajectory_of(run: Run) -> Trajectory:
    """Return a run as the assembler publishes it."""
    return Trajectory(
        trajectory_id=run.trajectory_id,
        opened_at=START,
        revision=1,
        key_source=KeySource.RUN_ID,
        tenant="default",
        system=run.system,
        system_version="1",
        task_id=run.task.task_id,
        task=run.task.text,
        outcome=run.outcome,
        outcome_at=START + timedelta(minutes=1),
        close_reason=CloseReason.COMPLETED,
        closed_at=START + timedelta(minutes=1),
        steps=tuple(events(run, started_at=START)),
    )


def counts(runs: Iterable[Labelled]) -> Counter[tuple[str, Sight, str]]:
    """Count runs by system, sight and kind."""
    return Counter((found.run.system, found.sight, found.kind) for found in runs)


def table(seed: int = 0) -> Iterator[str]:
    """Write down how many runs each split has."""
    yield f"| split | {'system':15} | sight | {'kind of the decisive mistake':32} | runs |"
    yield "| --- | --- | --- | --- | --- |"
    for split, count in COUNTS.items():
        for (system, sight, kind), number in sorted(counts(draw(split, count, seed)).items()):
            yield f"| {split} | {system:15} | {sight} | {kind:32} | {number} |"


if __name__ == "__main__":
    for row in table():
        print(row)  # noqa: T201  its own command
