"""Prints how often each row names the decisive step of held-out simulated runs, with intervals and paired tests.

    python -m trainer.steps.table [--limit 40] [--rows rule bag tracer] [--json found.json]

Rules: scored are tasks never seen, kinds of mistakes never seen and a system never seen, each apart, and within each
what shows in its own step apart from what needs several; every row is fitted on the runs that the tracer was trained
on; rows are compared run by run on the same runs; what can't be loaded is said, and the others are printed.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .intervals import mcnemar, share
from .kinds import Sight
from .rows import Named, Way, bag_of_words, rules
from .runs import COUNTS, SCORED, Labelled, Split, draw, trajectory_of

ADAPTER = Path("tracer/adapters/embedded")
TRACER = "tracer"


class Scored(NamedTuple):
    """What a row found about the runs of a split."""

    steps: tuple[bool, ...]
    agents: tuple[bool, ...]
    """Whether the step, and whether the agent, is the right one, run by run."""


Found = Mapping[str, Scored]


def scored(way: Way, runs: Sequence[Labelled], name: str) -> Scored:
    """Ask one row about all runs."""
    start = time.monotonic()
    named: list[Named] = []
    for number, one in enumerate(runs, start=1):
        named.append(way(trajectory_of(one.run)))
        if number % 20 == 0 or number == len(runs):
            _say(f"{name}: {number} of {len(runs)} runs, {time.monotonic() - start:.0f} s")
    pairs = list(zip(named, runs, strict=True))
    return Scored(tuple(a.step_index == b.step_index for a, b in pairs), tuple(a.agent == b.agent for a, b in pairs))


def lines(split: Split, runs: Sequence[Labelled], found: Found) -> Iterator[str]:
    """Write down one split: a line a row, then what the tracer is better and worse than."""
    views = {"all": runs, **{str(sight): [one for one in runs if one.sight is sight] for sight in Sight}}
    yield f"\n## {split}: {len(runs)} runs, {', '.join(f'{len(some)} {name}' for name, some in views.items())}\n"
    yield "| row | step, all | step, alone | step, steps | agent, all |"
    yield "| --- | --- | --- | --- | --- |"
    for name, one in found.items():
        cells = [str(share(_of(one.steps, runs, sight))) for sight in (None, *Sight)]
        yield f"| {name} | {' | '.join(cells)} | {share(one.agents)} |"
    yield from _tests(runs, found)


def _tests(runs: Sequence[Labelled], found: Found) -> Iterator[str]:
    if TRACER not in found:
        return
    yield "\n| the tracer against | all: only it right, only the other, p | steps: only it right, only the other, p |"
    yield "| --- | --- | --- |"
    for name, other in found.items():
        if name != TRACER:
            cells = [_compared(found[TRACER], other, runs, sight) for sight in (None, Sight.STEPS)]
            yield f"| {name} | {' | '.join(cells)} |"


def _compared(one: Scored, other: Scored, runs: Sequence[Labelled], sight: Sight | None) -> str:
    a, b = _of(one.steps, runs, sight), _of(other.steps, runs, sight)
    only_one = sum(x and not y for x, y in zip(a, b, strict=True))
    only_other = sum(y and not x for x, y in zip(a, b, strict=True))
    return f"{only_one}, {only_other}, {mcnemar(a, b):.2g}"


def _of(rights: Sequence[bool], runs: Sequence[Labelled], sight: Sight | None) -> list[bool]:
    return [right for right, one in zip(rights, runs, strict=True) if sight is None or one.sight is sight]


def ways(wanted: Sequence[str], adapter: Path, minilm: Path | None, trained_on: Sequence[Labelled]) -> dict[str, Way]:
    """Return the rows whose names begin with one of those wanted; those that can't be loaded are left out, and said."""
    found = {**rules(), "bag of words": bag_of_words(trained_on)}
    try:
        from . import models  # noqa: PLC0415  torch and transformers, for these rows alone

        found |= models.rows(adapter, minilm, trained_on, wanted)
    except ImportError as error:
        _say(f"no rows of models: {error}; install agentracer[model,train]")
    return {name: way for name, way in found.items() if name.startswith(tuple(wanted))}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  progress


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m trainer.steps.table", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--adapter", type=Path, default=ADAPTER)
    parser.add_argument("--minilm", type=Path, help="the encoder's folder, where its package is not installed")
    parser.add_argument("--limit", type=int, help="so many runs of each split")
    parser.add_argument("--rows", nargs="+", default=[""], help="how the names of the rows begin")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fitted-on", type=int, default=COUNTS[Split.TRAIN], help="so many runs fit the rows")
    parser.add_argument("--json", type=Path, help="where to write what was right, run by run")
    options = parser.parse_args()
    trained_on = list(draw(Split.TRAIN, options.fitted_on, options.seed))
    rows = ways(options.rows, options.adapter, options.minilm, trained_on)
    kept = {}
    for split in SCORED:
        runs = list(draw(split, min(COUNTS[split], options.limit or COUNTS[split]), options.seed))
        found = {name: scored(way, runs, f"{split}, {name}") for name, way in rows.items()}
        kept[split] = {name: one._asdict() for name, one in found.items()}
        print("\n".join(lines(split, runs, found)), flush=True)  # noqa: T201  its own command
    if options.json:
        options.json.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
