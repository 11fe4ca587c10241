"""`python -m tests.chaos --seeds 1-10`: the guarantees under fire, on a real Kafka and a store of each seed's own.

Rules: progress goes to stderr, the tables or, with `--json`, one document to stdout; a seed fixes a run; one that
fails keeps its logs and says how to repeat it; the exit code is 0 only if everything that has to be 0 is.
"""

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.console import Console

from ops.kafka.server import jars
from schemas.errors import KafkaUnavailableError

from .model import NAMES, is_model, missing
from .report import SeedReport, all_clean, missed, points_table, seeds_table
from .run import one_seed
from .size import FULL


def main() -> int:
    """Run the seeds; return the exit code."""
    arguments = _arguments()
    try:
        jars()
    except KafkaUnavailableError as error:
        print(f"no chaos without a real Kafka: {error}", file=sys.stderr)
        return error.exit_code
    if is_model(arguments.tracer) and (lacking := missing()) is not None:
        print(f"no chaos with a model: {lacking}", file=sys.stderr)
        return 1
    found = _run(arguments.seeds, arguments.jobs, short=arguments.short, tracer=arguments.tracer)
    reports = sorted(found, key=lambda one: one.seed)
    if arguments.json:
        print(json.dumps([one.to_json() for one in reports]))
    else:
        _print(reports)
    return 0 if all_clean(reports) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default=[1], metavar="1-10", help="which, as 1-10 or 3,5")
    parser.add_argument("--jobs", type=int, default=1, help="how many run beside each other")
    parser.add_argument("--short", action="store_true", help="about a minute each, as in `make test`")
    parser.add_argument("--tracer", choices=NAMES, help="who traces; one with a model has a smaller load")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


def seeds(text: str) -> list[int]:
    """Read `1-10` or `3,5`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _run(which: list[int], jobs: int, *, short: bool, tracer: str | None) -> Iterator[SeedReport]:
    """Run the seeds, each in a process of its own, and say of each how it ended."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(one_seed, seed, short=short, tracer=tracer) for seed in which]):
            report = done.result()
            if not report.is_clean:
                _say_what_is_wrong(report)
            yield report


def _say_what_is_wrong(report: SeedReport) -> None:
    counts = {name: count for name, count in report.counts().items() if count}
    print(f"\nseed {report.seed} FAILED: {counts or report.failure or report.verdicts}", file=sys.stderr)
    for example in report.tally.examples:
        print(f"    {example}", file=sys.stderr)
    print(f"    logs and journals: {report.folder}\n    to repeat it: {report.command}\n", file=sys.stderr)


def _print(reports: list[SeedReport]) -> None:
    console = Console(width=200)
    console.print(points_table(reports))
    console.print(seeds_table(reports))
    for one in reports:
        if one.tracer is not None:
            console.print(f"seed {one.seed}: {one.verdicts}; {one.disturbances}", highlight=False)
    full = [one for one in reports if one.size == FULL.name]
    if full and (never := missed(full)):
        console.print(f"never hit: {', '.join(never)}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
