"""From a run's last step to its verdict in the store, at 200 events/s, the whole path as processes.

Streams worker, tracer without a model and sink with their default settings, real Apache Kafka with four partitions,
the embedded store, and a sender of its own: 100 runs of ten steps under way at a time, every one a failure that is
known with the last step. A verdict's time is that of the first answer that has it, asked for every 50 ms: up to that
much too late, never too early; a run's is the moment before its last step is handed to the producer.
"""

import time
from statistics import median
from typing import NamedTuple

from benchmarks.report import Result, Scale, Target, progress
from benchmarks.roles import WholePath
from benchmarks.sender import Order, Sender
from ops.query import connect
from streams.migrate import Client
from streams.settings import StreamsSettings

RATE = 200.0
OPEN, STEPS = 100, 10
POLL_S = 0.05
PATIENCE_S = 60.0
_SEEN = """
SELECT trajectory_id FROM standing_verdicts_raw
WHERE startsWith(trajectory_id, {prefix:String}) AND recorded_at >= now64(3) - INTERVAL 10 SECOND
"""


class Latency(NamedTuple):
    """Seconds."""

    p50: float
    p99: float
    most: float
    verdicts: int


def measure(path: WholePath, prefix: str, seconds: float) -> Latency:
    """Send for so long, and watch the verdicts come."""
    runs = OPEN + round(RATE * seconds / STEPS)
    order = Order(path.bootstrap, prefix, runs, STEPS, OPEN, RATE, one_in=1)
    with connect(path.clickhouse) as client, Sender(order) as sender:
        seen = _watch(client, prefix, runs, sender)
        ends = sender.done()["ends"]
    took = sorted(seen[one] - end for one, end in ends.items())
    return Latency(_quantile(took, 0.5), _quantile(took, 0.99), took[-1], len(took))


def _watch(client: Client, prefix: str, runs: int, sender: Sender) -> dict[str, float]:
    seen: dict[str, float] = {}
    sent_at: float | None = None
    while len(seen) < runs:
        asked = time.time()
        for (trajectory_id,) in client.query(_SEEN, {"prefix": prefix}).result_rows:
            seen.setdefault(str(trajectory_id), time.time())
        if sender.is_done():
            sent_at = sent_at or asked
            if asked - sent_at > PATIENCE_S:
                raise RuntimeError(f"{runs - len(seen)} of {runs} verdicts did not come within {PATIENCE_S:.0f} s")
        time.sleep(max(0.0, asked + POLL_S - time.time()))
    return seen


def _quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that is not below so large a share."""
    place = -(-len(ordered) * round(share * 1000) // 1000) - 1
    return ordered[max(0, place)]


def results(scale: Scale) -> list[Result]:
    """Measure; raises KafkaUnavailableError where there is no Java or Maven."""
    interval = StreamsSettings().checkpoint_ms / 1000
    found: list[Latency] = []
    with WholePath() as path:
        measure(path, "warm-", 2)
        for number in range(1, scale.rounds + 1):
            found.append(measure(path, f"l{number}-", scale.of(40, 5)))
            progress(f"latency: round {number} of {scale.rounds}: {found[-1]}")
    p50, p99 = median(one.p50 for one in found), median(one.p99 for one in found)
    verdicts = sum(one.verdicts for one in found)
    what = f"last step to verdict in the store at {RATE:.0f} events/s, p99 in seconds of {verdicts:,}"
    limit = Target(at_most=interval + 2)
    base = f"checkpoint interval {interval:g} s, and 2 s"
    return [Result("latency", what, f"p50 {p50:.2f} s, p99 {p99:.2f} s", base, p99, limit, len(found))]
