"""`make bench`: every benchmark, each a ratio against a baseline run beside it on the same machine."""

import argparse
import json

from benchmarks import assembler, sink, worker
from schemas.errors import KafkaUnavailableError


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of measurements (default 5)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()
    figures = {"assembler": assembler.main(arguments.rounds)}
    for name, measure in (("worker", worker.main), ("sink", sink.main)):
        try:
            figures[name] = measure(arguments.rounds)
        except KafkaUnavailableError as error:
            print(f"{name}: NOT MEASURED: {error}")
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
