"""The whole path for twenty minutes at half of what it can do: memory, lag, and whether everything arrived.

    python -m benchmarks.soak                 # measure the capacity, then twenty minutes at half of it
    python -m benchmarks.soak --minutes 1     # to see that it runs
    python -m benchmarks.soak --rate 500      # at a rate of one's own; the capacity is not measured

A sender, one streams worker, one tracer without a model and one sink, each a process, on a real Kafka with four
partitions and the embedded store, all on this machine. Load: 1 kB step events, one a record, 500 runs of 20 steps under
way at a time, a fifth of them failures, every second outcome alone and after its run was closed.

The capacity is a minute's worth of events, sent as fast as the sender goes, over the time from the first of them to
the last of their verdicts in the store: sending is part of it, since it uses the same cores.

So that twenty minutes can show what stays, what is kept for long in production is kept for a short while here: the
late window is three minutes, and the topics keep ten; the disk keeps below some GB. The first quarter of the time is
the warm-up, in which windows and caches fill; growth is what a straight line through the rest says, and the rest's
last quarter over its first.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, mean
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from benchmarks.load import Late
from benchmarks.report import progress
from benchmarks.roles import WholePath, lags, resident
from benchmarks.sender import Done, Order, Sender
from ops.query import connect
from ops.roles import Role
from schemas import TOPICS, TopicName
from schemas.metrics import Metric
from streams.migrate import Client

STEPS, OPEN = 20, 500
PROBE_RUNS = 1_000
LATE_WINDOW_MS, KEPT_MS, SEGMENT_BYTES = 180_000, 600_000, 32_000_000
SETTINGS = {"AGENTRACER_LIMITS__LATE_WINDOW_MS": str(LATE_WINDOW_MS)}
SAMPLES = 120
"""Over the whole time."""
TOLD = 6
"""Every so-manieth is told while it runs."""
WIDTH = 60
LATE_S = 10, 50
"""A late outcome comes so long after its run's end, and up to so much more."""
PROBE_LATE = Late(4_000, 12_000)
PATIENCE_S = 300.0
BARS = "▁▂▃▄▅▆▇█"
_STEPS = """
SELECT count(), uniqExact(trajectory_id, event_id) FROM steps WHERE startsWith(trajectory_id, {prefix:String})
"""
_VERDICTS = "SELECT count(), uniqExact(trajectory_id) FROM verdicts WHERE startsWith(trajectory_id, {prefix:String})"
_OUTCOMES = "SELECT countIf(result IS NOT NULL) FROM trajectories WHERE startsWith(trajectory_id, {prefix:String})"
_ROWS = "SELECT sum(rows) FROM system.parts WHERE active AND table = 'steps_raw'"


class Sample(NamedTuple):
    """What was seen at one time."""

    at_s: float
    resident: dict[str, int]
    lag: dict[str, int]
    open: int
    rows: int


class Stored(NamedTuple):
    """What the store holds of a sender."""

    steps: int
    distinct_steps: int
    verdicts: int
    distinct_verdicts: int
    outcomes: int

    def is_all(self, done: Done) -> bool:
        """Whether that is everything, once."""
        return self == Stored(done["steps"], done["steps"], done["failures"], done["failures"], done["runs"])


def stored(client: Client, prefix: str) -> Stored:
    """Ask the store, through the views that everybody asks."""
    asked = {"prefix": prefix}
    steps = client.query(_STEPS, asked).result_rows[0]
    verdicts = client.query(_VERDICTS, asked).result_rows[0]
    return Stored(*map(int, (*steps, *verdicts, client.query(_OUTCOMES, asked).result_rows[0][0])))


def wait_for(path: WholePath, prefix: str, done: Done) -> Stored:
    """Wait until everything that was sent is in the store; return what is there, also when it is not all."""
    deadline = time.monotonic() + PATIENCE_S
    with connect(path.clickhouse) as client:
        while True:
            path.check()
            found = stored(client, prefix)
            if found.is_all(done) or time.monotonic() > deadline:
                return found
            time.sleep(0.25)


def capacity(path: WholePath, runs: int, name: str) -> float:
    """Return the events/s at which so many runs, sent as fast as it goes, are in the store with their verdicts."""
    prefix = f"{name}-"
    with Sender(Order(path.bootstrap, prefix, runs, STEPS, OPEN, late=PROBE_LATE)) as sender:
        done = sender.done()
    found = wait_for(path, prefix, done)
    taken = time.time() - done["began"]
    if not found.is_all(done):
        raise RuntimeError(f"after {taken:.0f} s the store holds {found} of {_plain(done)}")
    sent_s = done["ended"] - done["began"]
    progress(f"{name}: {done['acknowledged']:,} events in {taken:.1f} s, {sent_s:.1f} s of them sending")
    return done["acknowledged"] / taken


def soak(path: WholePath, rate: float, minutes: float) -> tuple[list[Sample], Done, Stored]:
    """Send at this rate for so long, and look on."""
    runs = max(OPEN, round(rate * minutes * 60 / STEPS))
    late = Late(*(round(rate * seconds) for seconds in LATE_S))
    samples: list[Sample] = []
    began = time.monotonic()
    order = Order(path.bootstrap, "soak-", runs, STEPS, OPEN, rate, late)
    with connect(path.clickhouse) as client, Sender(order) as sender:
        while not sender.is_done():
            samples.append(_look(path, client, sender, began))
            path.check()
            if len(samples) % TOLD == 1:
                _tell(samples[-1])
            _wait(began + len(samples) * minutes * 60 / SAMPLES, sender)
        done = sender.done()
    progress(f"all sent after {time.monotonic() - began:.0f} s; waiting for the last of it")
    return samples, done, wait_for(path, "soak-", done)


def _wait(until: float, sender: Sender) -> None:
    while time.monotonic() < until and not sender.is_done():
        time.sleep(0.1)


def _look(path: WholePath, client: Client, sender: Sender, began: float) -> Sample:
    seen = path.resident()
    with suppress(FileNotFoundError, ValueError, IndexError):  # it has just ended
        seen["sender"] = resident(sender.process.pid)
    lag = {group: lag or 0 for group, lag in asyncio.run(lags(path.bootstrap)).items()}
    is_open = round(path.metric(Role.STREAMS, Metric.STREAMS_OPEN))
    rows = int(client.query(_ROWS).result_rows[0][0])
    return Sample(time.monotonic() - began, seen, lag, is_open, rows)


def _tell(sample: Sample) -> None:
    memory = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in sample.resident.items())
    lag = ", ".join(f"{name} {records:,}" for name, records in sample.lag.items())
    progress(f"MB: {memory}; lag: {lag}; open {sample.open:,}; rows {sample.rows:,}")


async def _keep_for_a_short_while(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    short = {"retention.ms": str(KEPT_MS), "segment.bytes": str(SEGMENT_BYTES)}
    names = (TopicName.STEP_EVENTS, TopicName.TRAJECTORIES, TopicName.FAILED_TRAJECTORIES, TopicName.OUTCOMES)
    resources = [ConfigResource(ConfigResourceType.TOPIC, one.value, TOPICS[one].config() | short) for one in names]
    answers = await admin.alter_configs(resources)
    await admin.close()
    assert all(code == 0 for answer in answers for code, *_ in answer.resources), answers


class Growth(NamedTuple):
    """How a size moved once everything was warm."""

    mb_an_hour: float
    last_over_first: float


def growth(times_s: Sequence[float], sizes: Sequence[float]) -> Growth:
    """Fit a line to the bytes after the first quarter; compare the means of that rest's last and first quarter."""
    begin = len(sizes) // 4
    times, rest = times_s[begin:], sizes[begin:]
    slope = linear_regression(times, rest).slope if len(rest) > 1 else 0.0
    quarter = max(1, len(rest) // 4)
    return Growth(slope * 3600 / 1e6, mean(rest[-quarter:]) / mean(rest[:quarter]))


def sparkline(values: Sequence[float]) -> str:
    """Draw values between the lowest and the highest, several as their mean where there are many."""
    width = min(WIDTH, len(values))
    edges = [len(values) * place // width for place in range(width + 1)]
    values = [mean(values[begin:end]) for begin, end in pairwise(edges)]
    low, high = min(values), max(values)
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / (high - low) * top) if high > low else 0] for value in values)


def report(samples: Sequence[Sample], done: Done, found: Stored) -> str:
    """Return what there is to say."""
    times = [one.at_s for one in samples]
    lines = ["| memory of | first MB | last MB | most MB | growth MB/h | last over first quarter | |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name in samples[0].resident:
        sizes = [one.resident[name] for one in samples if name in one.resident]
        grown = growth(times[: len(sizes)], sizes)
        first, last, most = (size / 1e6 for size in (sizes[0], sizes[-1], max(sizes)))
        lines.append(
            f"| {name} | {first:.0f} | {last:.0f} | {most:.0f} | {grown.mb_an_hour:+.1f} "
            f"| {grown.last_over_first - 1:+.1%} | {sparkline(sizes)} |"
        )
    lines += [
        "",
        "| lag of | highest, records | highest, seconds of load | last | |",
        "| --- | --- | --- | --- | --- |",
    ]
    rate = done["acknowledged"] / (done["ended"] - done["began"])
    for group in samples[0].lag:
        lag = [one.lag[group] for one in samples]
        lines.append(f"| {group} | {max(lag):,} | {max(lag) / rate:.1f} | {lag[-1]:,} | {sparkline(lag)} |")
    counts = [one.open for one in samples]
    lines += ["", f"open trajectories {min(counts):,} to {max(counts):,} {sparkline(counts)}"]
    lines.append(f"sent {_plain(done)} in {done['ended'] - done['began']:.0f} s, {rate:,.0f} events/s")
    lines.append(f"in the store: {found}: {'ALL OF IT, ONCE' if found.is_all(done) else 'NOT WHAT WAS SENT'}")
    return "\n".join(lines)


def _plain(done: Done) -> str:
    return ", ".join(f"{done[name]:,} {name}" for name in ("acknowledged", "steps", "runs", "failures"))


def main() -> int:
    """Measure the capacity, soak, report; 1 where something is missing in the store or stands twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="The whole path, for long.")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument("--rate", type=float, help="events/s; without it half of the capacity, which is measured first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write samples and counts there")
    asked = parser.parse_args()
    with WholePath(SETTINGS) as path:
        asyncio.run(_keep_for_a_short_while(path.bootstrap))
        rate = asked.rate
        if rate is None:
            capacity(path, OPEN + PROBE_RUNS, "warm")
            guessed = capacity(path, OPEN + PROBE_RUNS, "guess")
            measured = capacity(path, max(OPEN, round(guessed * min(60.0, asked.minutes * 10) / STEPS)), "capacity")
            rate = measured / 2
            print(f"capacity {measured:,.0f} events/s; half of it is {rate:,.0f}", flush=True)
        samples, done, found = soak(path, rate, asked.minutes)
    print(report(samples, done, found))
    if asked.json is not None:
        plain = {"rate": rate, "samples": [one._asdict() for one in samples], "stored": found._asdict()}
        asked.json.write_text(json.dumps(plain, indent=1) + "\n")
    return 0 if found.is_all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
