"""What five seeds cost over one: computed prompt tokens, in a burst that does not fit the cache.

    python -m benchmarks.seeds

Every run of a burst is traced by one of two methods, in turn: `agentracer`, which thinks, and `all_at_once`, which
does not; in one burst each of them asks one seed, in the other five, which vote. The seeds of a run share its prompt,
so that all but the first should find it in the cache, though the cache is far too small for the burst. Counted is by
the core itself: prompt tokens that were computed. What the core computes again of requests that it had to push out of
the cache halfway is in no such counter of vLLM; it is told beside them.
"""

import argparse
import asyncio
from statistics import median

from benchmarks.engines import BenchedEngine, Counters
from benchmarks.failures import failures
from benchmarks.report import Result, Scale, Target, progress, table
from schemas import Trajectory
from tracer.engines.vllm import VllmSettings
from tracer.methods.agentracer import Agentracer
from tracer.methods.all_at_once import AllAtOnce
from tracer.model import ModelOptions, ModelTracer

SEEDS = 5
AT_ONCE = 16
"""As many runs as a worker has in work by default."""
STEPS = (3, 8)
THINKS_TOKENS = 48
CONTEXT = 1_024
CACHE_BYTES = 64_000_000
"""For the keys and values of about 2,700 tokens of SmolLM2-135M: no more than seven runs of the burst."""


def tracers(engine: BenchedEngine, seeds: int) -> tuple[ModelTracer, ModelTracer]:
    """Return both, each asking so many seeds."""
    options = ModelOptions(seeds=tuple(range(seeds)))
    methods = Agentracer(max_tokens=THINKS_TOKENS), AllAtOnce()
    long, short = (ModelTracer(engine, method, options) for method in methods)
    return long, short


async def burst(engine: BenchedEngine, counters: Counters, failed: list[Trajectory], seeds: int) -> int:
    """Trace all of them, and return how many prompt tokens the core computed."""
    await engine.forget()
    counters.zero()
    both, gate = tracers(engine, seeds), asyncio.Semaphore(AT_ONCE)

    async def trace(number: int) -> int:
        async with gate:
            tokens = (await both[number % 2].trace(failed[number])).tokens
            return tokens.input - tokens.cached

    said = sum(await asyncio.gather(*(trace(number) for number in range(len(failed)))))
    told = f"computed {counters.computed:,} of {counters.prompt:,} prompt tokens (by the answers {said:,})"
    again = f"{counters.recomputed:,} tokens again of {counters.preempted:,} requests pushed out"
    progress(f"seeds: {seeds} a run, {len(failed)} runs: {told}; {again}")
    return counters.computed


async def _measure(scale: Scale) -> list[tuple[int, int]]:
    failed = failures("failed", scale.of(24, 6), STEPS)
    engine = BenchedEngine(VllmSettings(context_tokens=CONTEXT, kv_cache_bytes=CACHE_BYTES), disable_log_stats=False)
    await engine.start()
    try:
        counters = Counters()
        counters.watch(engine)
        rounds = min(2, scale.rounds)
        return [
            (await burst(engine, counters, failed, SEEDS), await burst(engine, counters, failed, 1))
            for _ in range(rounds)
        ]
    finally:
        await engine.stop()


def results(scale: Scale) -> list[Result]:
    """Count; raises EngineError without vLLM."""
    pairs = asyncio.run(_measure(scale))
    many, one = (median(pair[place] for pair in pairs) for place in (0, 1))
    cached = f"a cache of {CACHE_BYTES / 1e6:.0f} MB"
    return [
        Result(
            "seeds",
            f"computed prompt tokens of a burst by k = {SEEDS} seeds, mixed methods, {cached}",
            f"{many:,.0f} tokens",
            f"k = 1 {one:,.0f} tokens",
            median(five / alone for five, alone in pairs),
            Target(at_most=1.5),
            len(pairs),
        )
    ]


def main() -> None:
    """Count, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description="Five seeds over one.")
    parser.add_argument("--rounds", type=int, default=2, help="pairs (default 2)")
    parser.add_argument("--quick", action="store_true", help="small")
    asked = parser.parse_args()
    print(table(results(Scale(asked.rounds, quick=asked.quick))))


if __name__ == "__main__":
    main()
