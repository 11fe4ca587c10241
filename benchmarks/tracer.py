"""Trajectories a second of the tracer's consumer over bare `LLM.generate` given all of the same prompts at once.

    python -m benchmarks.tracer                               # both models, five pairs each
    python -m benchmarks.tracer --only qwen3 --profile        # one of them, and where the time goes

The consumer is the real one on real Kafka: failed runs in, verdicts out, each step asked about by the method
`step_scores` over the real engine. Timed is from the first attempt to the last verdict that the broker has. The bare
engine is `vllm.LLM` with the same arguments in the same process, given the very requests of the consumer's run before,
as tokens, with the same sampling and limits. Neither knows a prefix when it starts. Models:

    smollm2   the embedded one: what the tracer costs beside a model
    qwen3     a random one of a few megabytes, which costs next to nothing: our own overhead shows

The profile is a run of its own, and counts in no ratio.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import uvloop

from benchmarks.consuming import Consumer, Watch
from benchmarks.engines import Bare, BenchedEngine, Recorder, core_ids, cpu_s
from benchmarks.failures import failures, publish
from benchmarks.report import Result, Scale, Target, in_pairs, medians, progress, ratio_of, table
from benchmarks.sampler import Group, Sampler, show
from benchmarks.shapes import TINY, write_qwen3
from ops.client import apply_topics
from ops.kafka.server import KafkaServer
from schemas import Trajectory
from tracer.engines.vllm import VllmSettings
from tracer.engines.weights import EMBEDDED
from tracer.methods.table import METHODS, by_name
from tracer.model import ModelTracer
from tracer.protocol import Tracer

STEPS = (3, 6)
CONTEXT = 2_048
WARM = 16
"""Requests that the bare engine answers before it is measured."""
GROUPS: tuple[Group, ...] = (
    ("tokenizer, chat template", ("vllm_core.py:Core.ids", "vllm_core.py:Core._prompt", "vllm_core.py:Core.prompt")),
    ("putting prompts together", ("tracer/prompt/",)),
    ("vllm: answers out", ("AsyncLLM._run_output_handler", "v1/engine/output_processor.py", "v1/serial_utils.py")),
    ("vllm: requests in", ("v1/engine/async_llm.py", "v1/engine/input_processor.py", "v1/engine/core_client.py")),
    ("vllm: the rest", ("/vllm/", "/zmq/")),
    ("our engine", ("tracer/engines/",)),
    ("methods, verdicts", ("tracer/methods/", "tracer/model.py", "tracer/conclude.py", "tracer/verdict.py")),
    ("kafka", ("aiokafka/",)),
    (
        "our consumer",
        ("tracer/consume.py", "tracer/kafka.py", "tracer/work.py", "tracer/commits.py", "tracer/trace.py"),
    ),
    ("event loop, and the profiler's wake-ups", ("asyncio/runners.py:Runner.run",)),
)
Name = Literal["smollm2", "qwen3"]


class Kind(NamedTuple):
    """One model."""

    what: str
    method: str
    target: float
    failures: tuple[int, int]
    """How many runs are traced, and how many for a quick look."""


KINDS: dict[Name, Kind] = {
    "smollm2": Kind("SmolLM2-135M", "step_scores", 0.9, (32, 4)),
    "qwen3": Kind("a random Qwen3 of 3 M parameters", "step_scores", 0.7, (300, 10)),
}


class Bench:
    """One engine with its bare twin and a filled topic, measured in turn."""

    def __init__(self, bootstrap: str, engine: BenchedEngine, runner: asyncio.Runner, method: str) -> None:
        self.engine, self.recorder, self._runner = engine, Recorder(engine), runner
        self._bootstrap = bootstrap
        self._tracer: Tracer = ModelTracer(self.recorder, by_name(method))
        runner.run(engine.start())
        self.cores = core_ids()
        self.bare = Bare(engine)

    def consumer(self, failed: int, sampler: Sampler | None = None) -> float:
        """Trace what is on the topic; return the seconds."""
        return self._runner.run(self._consumer(failed, sampler))

    def warm(self, failed: int) -> None:
        """Let both do everything once; what the consumer asks is what the bare engine is asked first."""
        self.consumer(failed)
        self.bare.answer(self.recorder.asked[:WARM])

    async def _consumer(self, failed: int, sampler: Sampler | None) -> float:
        await self.engine.forget()
        self.recorder.asked.clear()
        watch = Watch(failed, sampler)
        async with Consumer(self._bootstrap, self._tracer, watch):
            pass
        return watch.seconds

    def stop(self) -> None:
        """End both engines."""
        self.bare.stop()
        self._runner.run(self.engine.stop())


@contextmanager
def bench(engine: BenchedEngine, failed: Sequence[Trajectory], method: str) -> Iterator[Bench]:
    """Have a broker with these failures, and both engines."""
    with KafkaServer() as kafka, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(apply_topics(kafka.bootstrap, partitions=1, replicas=1))
        runner.run(publish(kafka.bootstrap, failed))
        found = Bench(kafka.bootstrap, engine, runner, method)
        try:
            yield found
        finally:
            found.stop()


@contextmanager
def engine_of(name: Name) -> Iterator[BenchedEngine]:
    """Have a model's engine, not started."""
    with tempfile.TemporaryDirectory(prefix="agentracer-bench-") as folder:
        model = EMBEDDED if name == "smollm2" else str(write_qwen3(Path(folder), TINY))
        yield BenchedEngine(VllmSettings(model=model, context_tokens=CONTEXT))


def measure(
    name: Name, scale: Scale, *, method: str | None = None, profiled: bool = False
) -> tuple[list[Result], list[str]]:
    """Measure one model; return its line of the table, and its profile."""
    kind = KINDS[name]
    kind = kind._replace(method=method or kind.method)
    failed = failures("failed", scale.of(*kind.failures), STEPS)
    with engine_of(name) as engine, bench(engine, failed, kind.method) as measured:
        measured.warm(len(failed))

        def ours() -> float:
            return len(failed) / measured.consumer(len(failed))

        def bare() -> float:
            done = measured.bare.answer(measured.recorder.asked)
            progress(f"tracer, {name}: bare: {done}")
            return len(failed) / done.seconds

        pairs = in_pairs(scale.rounds, f"tracer, {name}", ours, bare)
        profiles = [_profile(name, measured, len(failed))] if profiled else []
    return ([_result(name, kind, pairs, len(failed))] if pairs else []), profiles


def _result(name: Name, kind: Kind, pairs: list[tuple[float, float]], failed: int) -> Result:
    ours, bare = medians(pairs)
    return Result(
        f"tracer, {name}",
        f"the tracer's consumer, {failed} failures by `{kind.method}`, {kind.what}",
        f"{ours:.2f} trajectories/s",
        f"bare LLM.generate {bare:.2f}",
        ratio_of(pairs),
        Target(at_least=kind.target),
        len(pairs),
    )


def _profile(name: Name, measured: Bench, failed: int) -> str:
    sampler = Sampler(GROUPS)
    core, own = _core_s(measured), time.process_time()
    seconds = measured.consumer(failed, sampler)
    core, own = _core_s(measured) - core, time.process_time() - own
    done = measured.bare.answer(measured.recorder.asked)
    return "\n".join(
        [
            f"{name}, {failed} failures: {seconds:.2f} s, in which the core used {core:.2f} s of CPU and the",
            f"consumer's process {own:.2f} s; bare {done.seconds:.2f} s. The consumer's process, by trajectory:",
            show(sampler.profile(), failed, of="a trajectory"),
        ]
    )


def _core_s(measured: Bench) -> float:
    return sum(cpu_s(pid) for pid in measured.cores)


def results(scale: Scale) -> list[Result]:
    """Measure both; raises KafkaUnavailableError without Java or Maven, EngineError without vLLM."""
    return [one for name in KINDS for one in measure(name, scale)[0]]


def main() -> None:
    """Measure what was asked for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracer", description="The tracer's consumer.")
    parser.add_argument("--only", choices=tuple(KINDS), help="one model")
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="pairs (default 5); 0 with --profile: the profile alone",
    )
    parser.add_argument("--quick", action="store_true", help="small")
    parser.add_argument("--profile", action="store_true", help="say where the rest goes")
    parser.add_argument("--method", choices=tuple(METHODS), help="another method")
    asked = parser.parse_args()
    lines: list[Result] = []
    for name in KINDS:
        if asked.only in (None, name):
            scale = Scale(asked.rounds, quick=asked.quick)
            found, profiles = measure(name, scale, method=asked.method, profiled=asked.profile)
            lines += found
            print("\n".join(profiles))
    if lines:
        print(table(lines))


if __name__ == "__main__":
    main()
