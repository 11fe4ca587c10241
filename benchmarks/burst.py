"""A burst of failures, the long method first: when the last verdict comes, and how old the short method's are.

    python -m benchmarks.burst

Two hundred failures come at once on real Kafka: 160 of a system that is traced by `agentracer`, which thinks, and when
all of these are in work 40 of one that is traced by `step_scores`. One consumer has all of them in work, over one
engine that computes 64 requests at a time; the others wait in the engine's queue. Measured in turn:

    short first   requests of the short method have the lower priority number
    in order      all have the same, so the short ones wait behind the long ones
    bare          `vllm.LLM` given the very requests of the first at once

The last verdict's time is from the first failure's sending; a verdict's age is what it says itself: how long its run
was queued and traced.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from math import ceil
from statistics import median
from typing import NamedTuple

import uvloop

from benchmarks.broker import forget
from benchmarks.consuming import Consumer, Watch
from benchmarks.engines import Bare, BenchedEngine, Recorder
from benchmarks.failures import failures, publish, verdicts_of
from benchmarks.report import Result, Scale, Target, progress, table
from ops.client import apply_topics
from ops.kafka.server import KafkaServer
from schemas import Trajectory
from tracer.engines.vllm import VllmSettings
from tracer.methods.agentracer import Agentracer
from tracer.methods.step_scores import StepScores
from tracer.model import ModelOptions, ModelTracer
from tracer.protocol import Finding, Tracer

LONG, SHORT = (160, 16), (40, 4)
"""How many failures each method has, and how many for a quick look."""
STEPS = (3, 3)
THINKS_TOKENS = 64
URGENT = -1
CONTEXT = 1_024
COUNTED_S = 3_600.0


class Mixed:
    """Two tracers as one: runs of some systems go to the second."""

    def __init__(self, long: Tracer, short: Tracer, is_short: Callable[[Trajectory], bool]) -> None:
        self.name = f"{long.name}, {short.name}"
        self.version = f"{long.version}, {short.version}"
        self.begun = 0
        self._long, self._short, self._is_short = long, short, is_short

    async def trace(self, trajectory: Trajectory) -> Finding:
        """Trace it by its method."""
        self.begun += 1
        tracer = self._short if self._is_short(trajectory) else self._long
        return await tracer.trace(trajectory)


class Burst(NamedTuple):
    """What one burst took, in seconds."""

    last: float
    p95_short: float
    p95_long: float


def p95(values: list[float]) -> float:
    """Return the smallest value that 95 % are not above."""
    return sorted(values)[ceil(0.95 * len(values)) - 1]


class Bench:
    """A broker, the engine and its bare twin."""

    def __init__(self, bootstrap: str, runner: asyncio.Runner) -> None:
        self._bootstrap, self._runner = bootstrap, runner
        self._number = 0
        self._engine = BenchedEngine(VllmSettings(context_tokens=CONTEXT))
        self._recorder = Recorder(self._engine)
        runner.run(self._engine.start())
        self._bare = Bare(self._engine)

    def burst(self, long: int, short: int, priority: int) -> Burst:
        """Trace a burst in which the short method has this priority."""
        self._number += 1
        found = self._runner.run(self._burst(long, short, priority))
        said = "short first" if priority else "in order"
        progress(f"burst: {said}: last {found.last:.1f} s, p95 {found.p95_short:.1f} s, long {found.p95_long:.1f} s")
        return found

    async def _burst(self, long: int, short: int, priority: int) -> Burst:
        await forget(self._bootstrap)
        await self._engine.forget()
        self._recorder.asked.clear()
        first = failures(f"long{self._number}", long, STEPS)
        then = failures(f"short{self._number}", short, STEPS, seed=1)
        tracer, watch = self._tracer(then, priority), Watch(long + short)
        at_once = {"tracer_concurrency": long + short, "tracer_wait_s": COUNTED_S}
        async with Consumer(self._bootstrap, tracer, watch, **at_once) as consumer:
            await consumer.ready()
            began = time.perf_counter()
            await publish(self._bootstrap, first)
            await consumer.until(lambda: tracer.begun == long)
            await publish(self._bootstrap, then)
        watch.seconds  # noqa: B018 - raises where a verdict is missing
        assert watch.ended is not None
        return Burst(watch.ended - began, await self._p95(then), await self._p95(first))

    def _tracer(self, short: list[Trajectory], priority: int) -> Mixed:
        ids = {one.trajectory_id for one in short}
        return Mixed(
            ModelTracer(self._recorder, Agentracer(max_tokens=THINKS_TOKENS), ModelOptions(asks_class=False)),
            ModelTracer(self._recorder, StepScores(), ModelOptions(priority=priority)),
            lambda one: one.trajectory_id in ids,
        )

    async def _p95(self, failed: list[Trajectory]) -> float:
        found = await verdicts_of(self._bootstrap, failed)
        return p95([(one.queued_ms + one.traced_ms) / 1000 for one in found])

    def bare(self) -> float:
        """Answer the requests of the last burst at once; return the seconds."""
        done = self._bare.answer(self._recorder.asked)
        progress(f"burst: bare: {done}")
        return done.seconds

    def stop(self) -> None:
        """End both engines."""
        self._bare.stop()
        self._runner.run(self._engine.stop())


def results(scale: Scale) -> list[Result]:
    """Measure; raises KafkaUnavailableError without Java or Maven, EngineError without vLLM."""
    long, short = scale.of(*LONG), scale.of(*SHORT)
    found: list[tuple[Burst, float, Burst]] = []
    with KafkaServer() as kafka, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(apply_topics(kafka.bootstrap, partitions=1, replicas=1))
        bench = Bench(kafka.bootstrap, runner)
        try:
            bench.burst(4, 4, URGENT)
            for _ in range(min(2, scale.rounds)):
                urgent = bench.burst(long, short, URGENT)
                found.append((urgent, bench.bare(), bench.burst(long, short, 0)))
        finally:
            bench.stop()
    return _results(found, long, short)


def _results(found: list[tuple[Burst, float, Burst]], long: int, short: int) -> list[Result]:
    last, bare = median(one.last for one, _, _ in found), median(alone for _, alone, _ in found)
    urgent, in_order = median(one.p95_short for one, _, _ in found), median(one.p95_short for _, _, one in found)
    return [
        Result(
            "burst, last verdict",
            f"{long + short} failures at once, {long} by `agentracer` and {short} by `step_scores`",
            f"{last:.1f} s",
            f"bare LLM.generate, the same prompts {bare:.1f} s",
            median(one.last / alone for one, alone, _ in found),
            Target(at_most=1.15),
            len(found),
        ),
        Result(
            "burst, short method",
            f"p95 age of its {short} verdicts, {long} long ones queued first",
            f"{urgent:.1f} s",
            f"without its priority {in_order:.1f} s",
            median(one.p95_short / other.p95_short for one, _, other in found),
            Target(at_most=0.25),
            len(found),
        ),
    ]


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.burst", description="A burst of failures.")
    parser.add_argument("--rounds", type=int, default=2, help="bursts of each kind (default 2)")
    parser.add_argument("--quick", action="store_true", help="small")
    asked = parser.parse_args()
    print(table(results(Scale(asked.rounds, quick=asked.quick))))


if __name__ == "__main__":
    main()
