"""`make bench`: every benchmark, each a ratio against a baseline run beside it on the same machine.

    python -m benchmarks                       # all of them, five rounds
    python -m benchmarks --only worker,sink    # some
    python -m benchmarks --quick               # all of them, small and once: only that they run
    python -m benchmarks.soak --minutes 20     # the long one, by itself
    python -m benchmarks.gpu                   # a large model, where there is a GPU, by itself

The table has a line for each result, with its target and whether that is met. Where Java or Maven are missing, what
needs a real Kafka is left out, loudly, and what needs a model where vLLM is. The process ends with 1 where something
could not be measured.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import assembler, burst, latency, memory, recovery, scale, seeds, sink, state, tracer, worker
from benchmarks.report import Result, Scale, progress, table
from schemas.errors import EngineError, KafkaUnavailableError

BENCHMARKS: dict[str, Callable[[Scale], list[Result]]] = {
    "worker": worker.results,
    "assembler": assembler.results,
    "state": state.results,
    "memory": memory.results,
    "sink": sink.results,
    "latency": latency.results,
    "scale": scale.results,
    "recovery": recovery.results,
    "tracer": tracer.results,
    "seeds": seeds.results,
    "burst": burst.results,
}


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(BENCHMARKS), help=f"some of {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of measurements (default 5)")
    parser.add_argument("--quick", action="store_true", help="small and once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    asked = parser.parse_args(arguments)
    asked.names = asked.only.split(",")
    if unknown := [name for name in asked.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}")
    return asked


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for."""
    asked = _asked(arguments)
    size = Scale(1 if asked.quick else asked.rounds, quick=asked.quick)
    found: list[Result] = []
    missing: list[str] = []
    before = os.getloadavg()[0]
    for name in asked.names:
        progress(f"{name} …")
        try:
            found += BENCHMARKS[name](size)
        except (KafkaUnavailableError, EngineError) as error:
            missing.append(f"{name}: NOT MEASURED: {error}")
            progress(missing[-1])
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    load = f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} at the end"
    print("\n".join([table(found), "", f"{machine}; {load}; medians over the rounds", *missing]))
    if asked.json is not None:
        text = json.dumps({"machine": machine, "load": load, "quick": asked.quick, "results": _plain(found)}, indent=2)
        asked.json.write_text(text + "\n")
    return 1 if missing else 0


def _plain(results: list[Result]) -> list[dict[str, object]]:
    return [one._asdict() | {"target": str(one.target or ""), "verdict": one.verdict} for one in results]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
