"""One streams worker on real Kafka over a bare aiokafka `getmany` loop with the same validation.

    python -m benchmarks.worker                                  # all variants, five pairs each
    python -m benchmarks.worker --only single --rounds 2         # one variant, fewer pairs
    python -m benchmarks.worker --only single --rounds 0 --profile   # only where the worker's CPU time goes
    python -m benchmarks.worker --only late --events 60000       # less of it, for a quick look

Both read the same topic: one partition, 1 kB step events, 1,000 trajectories of 40 steps open at any time, a fifth of
them failures, which are traced. The worker is the real one, Faust and all, in a process of its own; it writes a
checkpoint every 20,000 events, as by default, 24 of them. Variants:

    single   one event a record; the outcome comes with the last step
    ndjson   ten events a record: ten consecutive steps of one run, as a sender has them that batches its own run
    late     one event a record; every second outcome comes alone, 20,000 to 80,000 events after its run was closed, so
             that the run is reopened with its content from the cache or read back from its topic; those of the last
             runs have not come yet at the end, as in any stream

Timed is, for the worker, from the first batch it is handed to the commit of the transaction that includes the last
event; for the bare loop, from the first answer to the last validated event. Both have the same garbage collector's
settings, event loop and fetch size. The pairs run in turn, and what counts is the ratio within a pair. The profile is
a run of its own, and counts in no ratio.
"""

import argparse
import asyncio
import time
from statistics import median
from typing import Any, Literal, NamedTuple, TypedDict

import uvloop

from benchmarks.alone import alone
from benchmarks.broker import fill, forget, read_bare
from benchmarks.load import Late, Sent, interleaved, up_to
from benchmarks.report import Result, Scale, Target, in_pairs, medians, progress, ratio_of, table
from benchmarks.sampler import Group, Profile, Sampler, show
from ops.client import apply_topics
from ops.kafka.server import KafkaServer
from ops.metrics import PrometheusMetrics
from ops.roles import Role
from schemas.metrics import Metric
from streams.limits import Limits
from streams.partitions import Batch, Partitions
from streams.settings import StreamsSettings
from streams.worker import collect_garbage_seldom, run

EVENTS = 480_000
CHECKPOINT = 20_000
OPEN, STEPS, TOGETHER = 1_000, 40, 10
GRACE_MS = 100
"""Of partition time, which here passes as fast as the topic was filled; an outcome that comes alone waits for it."""
GROUPS: tuple[Group, ...] = (
    ("close", ("streams/close.py", "streams/order.py", "streams/route.py")),
    ("read back", ("PartitionReader", "Partitions._bases")),
    ("validation", ("schemas/wire.py",)),
    ("segments, markers, state", ("streams/state.py", "streams/marker.py", "streams/checkpoint.py")),
    ("fold", ("streams/assemble.py", "streams/held.py", "streams/clock.py", "streams/home.py")),
    ("kafka: batches, compression, sending", ("aiokafka/producer", "aiokafka/record/", "streams/kafka.py")),
    ("kafka: fetching", ("aiokafka/consumer",)),
    ("kafka: connections", ("aiokafka/",)),
    ("metrics", ("streams/measure.py", "ops/metrics.py", "prometheus_client")),
    (
        "our delivery and partitions",
        ("streams/delivery.py", "streams/partitions.py", "streams/app.py", "streams/aside.py"),
    ),
    ("faust", ("/faust/", "/mode/")),
)
Variant = Literal["single", "ndjson", "late"]


class Kind(NamedTuple):
    """One variant."""

    what: str
    target: float
    together: int = 1
    is_late: bool = False


KINDS: dict[Variant, Kind] = {
    "single": Kind("one event a record", 0.5),
    "ndjson": Kind("ten events a record (NDJSON)", 0.7, TOGETHER),
    "late": Kind("half of the outcomes late", 0.5, is_late=True),
}


class Run(TypedDict):
    """What one measured process says."""

    rate: float
    cpu_us: float
    """CPU an event, of all its threads; steadier than the rate where others use the machine too."""
    counts: dict[str, float]
    profile: Profile | None


class _Watch(PrometheusMetrics):
    """The worker's own metrics, which also end the run when everything is checkpointed."""

    def __init__(self, events: int, stop: asyncio.Event, sampler: Sampler | None) -> None:
        super().__init__(Role.STREAMS)
        self.counts: dict[str, float] = {}
        self._started: float | None = None
        self._done = self._cpu = 0.0
        self._events, self._stop, self._sampler = events, stop, sampler

    @property
    def rate(self) -> float:
        """Events/s, from the first batch to the last checkpoint."""
        assert self._started is not None, "no batch came"
        return self._events / (self._done - self._started)

    @property
    def cpu_us(self) -> float:
        """CPU an event."""
        return self._cpu / self._events * 1e6

    def start(self) -> None:
        """Note the first batch."""
        if self._started is None:
            self._started, self._cpu = time.perf_counter(), time.process_time()
            if self._sampler is not None:
                self._sampler.start()

    def count(self, name: Metric, n: float = 1, /, **labels: object) -> None:
        """Raise a counter, and see whether that was the last event."""
        super().count(name, n, **labels)
        key = "/".join((name, *map(str, labels.values())))
        self.counts[key] = self.counts.get(key, 0.0) + n
        if name is Metric.STREAMS_FOLDED and self.counts[key] >= self._events and not self._done:
            self._done, self._cpu = time.perf_counter(), time.process_time() - self._cpu
            if self._sampler is not None:
                self._sampler.stop()
            self._stop.set()


def measure_bare(bootstrap: str, records: int) -> Run:
    """Return events/s of `getmany` and validation."""
    collect_garbage_seldom()
    taken, cpu, events = uvloop.run(read_bare(bootstrap, records))
    return Run(rate=events / taken, cpu_us=cpu / events * 1e6, counts={}, profile=None)


def measure_worker(bootstrap: str, records: int, events: int, *, profiled: bool = False) -> Run:
    """Return events/s of the worker, what it counted, and where its CPU time went."""
    collect_garbage_seldom()
    sampler = Sampler(GROUPS) if profiled else None
    watch = uvloop.run(_work(bootstrap, records, events, sampler))
    profile = None if sampler is None else sampler.profile()
    return Run(rate=watch.rate, cpu_us=watch.cpu_us, counts=watch.counts, profile=profile)


async def _work(bootstrap: str, records: int, events: int, sampler: Sampler | None) -> _Watch:
    stop = asyncio.Event()
    watch = _Watch(events, stop, sampler)
    settings = StreamsSettings(
        bootstrap=bootstrap,
        checkpoint_events=CHECKPOINT,
        checkpoint_ms=60_000,
        streams_group=f"bench-{time.time_ns()}",
        limits=Limits(grace_ms=GRACE_MS),
    )
    _note_start_and_end(watch, records)
    await run(settings, stop, watch)
    return watch


def _note_start_and_end(watch: _Watch, records: int) -> None:
    """Note when the first batch is folded, and ask for a checkpoint once the last is."""
    fold = Partitions.fold

    async def noted(self: Partitions, batch: Batch) -> None:
        watch.start()
        await fold(self, batch)
        if batch.records[-1].offset >= records - 1:
            await self.checkpoint(batch.partition)

    Partitions.fold = noted  # type: ignore[method-assign]


def load(kind: Kind, events: int) -> list[Sent]:
    """Return the records of a variant."""
    late = Late(events // 12, events // 4) if kind.is_late else None
    endless = interleaved(OPEN, STEPS, kind.together, late=late)
    return list(up_to(endless, events))


def measure(variant: Variant, scale: Scale, events: int, *, profiled: bool = False) -> tuple[list[Result], list[str]]:
    """Measure one variant on a broker of its own; return its line of the table, and its profile."""
    kind = KINDS[variant]
    progress(f"worker, {variant}: filling the topic with {events:,} events")
    with KafkaServer() as kafka:
        asyncio.run(apply_topics(kafka.bootstrap, partitions=1, replicas=1))
        records = asyncio.run(fill(kafka.bootstrap, load(kind, events)))
        workers: list[Run] = []
        bares: list[Run] = []

        def ours() -> float:
            workers.append(alone(measure_worker, kafka.bootstrap, records, events))
            asyncio.run(forget(kafka.bootstrap))
            return workers[-1]["rate"]

        def bare() -> float:
            bares.append(alone(measure_bare, kafka.bootstrap, records))
            return bares[-1]["rate"]

        pairs = in_pairs(scale.rounds, f"worker, {variant}", ours, bare)
        profiles = [_profile(variant, kafka.bootstrap, records, events)] if profiled else []
    if not pairs:
        return [], profiles
    _tell(workers, bares)
    return [_result(variant, pairs, events)], profiles


def _result(variant: Variant, pairs: list[tuple[float, float]], events: int) -> Result:
    kind, (ours, bare) = KINDS[variant], medians(pairs)
    return Result(
        f"worker, {variant}",
        f"one streams worker, {kind.what}; {events // CHECKPOINT} checkpoints, {OPEN:,} open across each",
        f"{ours:,.0f} events/s",
        f"bare getmany and validation {bare:,.0f}",
        ratio_of(pairs),
        Target(at_least=kind.target),
        len(pairs),
    )


def _tell(workers: list[Run], bares: list[Run]) -> None:
    ours, bare = (median(one["cpu_us"] for one in runs) for runs in (workers, bares))
    progress(f"CPU an event, all threads: {ours:.1f} µs, bare {bare:.1f} µs")
    counts = sorted(workers[-1]["counts"].items())
    told = [f"{name.removeprefix('streams_')} {count:,.0f}" for name, count in counts if count]
    progress("the worker counted " + ", ".join(told))


def _profile(variant: Variant, bootstrap: str, records: int, events: int) -> str:
    done: Any = alone(measure_worker, bootstrap, records, events, profiled=True)
    return f"{variant}, profiled at {done['rate']:,.0f} events/s:\n" + show(Profile(*done["profile"]), events)


def results(scale: Scale) -> list[Result]:
    """Measure all variants; raises KafkaUnavailableError where there is no Java or Maven."""
    events = scale.of(EVENTS, 40_000)
    return [one for variant in KINDS for one in measure(variant, scale, events)[0]]


def main() -> None:
    """Measure what was asked for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description="The streams worker.")
    parser.add_argument("--only", choices=tuple(KINDS), help="one variant")
    parser.add_argument(
        "--rounds", type=int, default=5, help="pairs (default 5); 0 with --profile is the profile alone"
    )
    parser.add_argument("--events", type=int, default=EVENTS, help=f"events, a multiple of ten (default {EVENTS})")
    parser.add_argument("--profile", action="store_true", help="say where the worker's CPU time goes")
    asked = parser.parse_args()
    lines: list[Result] = []
    for variant in KINDS:
        if asked.only in (None, variant):
            found, profiles = measure(variant, Scale(asked.rounds), asked.events, profiled=asked.profile)
            lines += found
            print("\n".join(profiles))
    if lines:
        print(table(lines))


if __name__ == "__main__":
    main()
