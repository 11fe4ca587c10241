"""The tracer's consumer over a large model on a GPU: over bare `LLM.generate`, in tokens a second, over the roofline.

    python -m benchmarks.gpu                       # the shape of Qwen3-8B
    python -m benchmarks.gpu --shape 1.7b --failures 200

The model has the shape of a Qwen3, random weights and the small model's vocabulary; it answers nonsense at the speed
of the real one. Both engines are on the GPU at once, each with a share of its memory. The roofline is the longer of
two times that no engine can beat: two operations a parameter for every token that is computed or generated, at the
card's bfloat16 peak; and reading all weights once for every token that a full batch generates, at its memory's peak.
It leaves attention and the cache out, so the share is a little too low rather than too high.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.engines import BenchedEngine, Done
from benchmarks.failures import failures
from benchmarks.report import Result, Target, in_pairs, medians, progress, ratio_of, table
from benchmarks.shapes import Shape, write_qwen3
from benchmarks.tracer import bench
from tracer.engines.vllm import VllmSettings

SHAPES = {
    "8b": Shape(4_096, 12_288, 36, 32, 8, 128),
    "4b": Shape(2_560, 9_728, 36, 32, 8, 128, ties_embeddings=True),
    "1.7b": Shape(2_048, 6_144, 28, 16, 8, 128, ties_embeddings=True),
}
CONTEXT = 8_192
METHOD = "agentracer"
STEPS = (10, 40)
BATCH = 256
MEMORY_SHARE = 0.45
TARGET = Target(at_least=0.9)
MISSING = "torch finds no GPU here; run it on a machine that has one, with the CUDA build of vLLM"


class Card(NamedTuple):
    """A GPU's peaks, by its maker."""

    operations: float
    """Dense bfloat16, a second."""
    bytes: float
    """Of memory read, a second."""


CARDS = {
    "H200": Card(989e12, 4.8e12),
    "H100": Card(989e12, 3.35e12),
    "A100": Card(312e12, 2.0e12),
    "L40S": Card(362e12, 0.864e12),
    "L4": Card(121e12, 0.3e12),
}


def roofline_s(shape: Shape, card: Card, done: Done, batch: int = BATCH) -> float:
    """Return the time that no engine can beat for this much work."""
    parameters = shape.matrix_parameters
    computed = 2 * parameters * (done.input - done.cached + done.output) / card.operations
    read = 2 * parameters * done.output / batch / card.bytes
    return max(computed, read)


def card_name() -> str | None:
    """Return the first GPU's name; None where there is none."""
    try:
        import torch  # noqa: PLC0415  heavy
    except ImportError:
        return None
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def measure(size: str, count: int, rounds: int, name: str) -> list[Result]:
    """Measure one shape."""
    shape, failed = SHAPES[size], failures("failed", count, STEPS)
    settings: dict[str, Any] = {"context_tokens": CONTEXT, "max_sequences": BATCH, "gpu_memory_share": MEMORY_SHARE}
    with tempfile.TemporaryDirectory(prefix="agentracer-bench-") as folder:
        model = write_qwen3(Path(folder), shape, weights=False)
        engine = BenchedEngine(VllmSettings(model=str(model), **settings), load_format="dummy")
        answers: list[Done] = []
        with bench(engine, failed, METHOD) as measured:
            measured.warm(count)

            def ours() -> float:
                return count / measured.consumer(count)

            def bare() -> float:
                answers.append(measured.bare.answer(measured.recorder.asked))
                progress(f"gpu: bare: {answers[-1]}")
                return count / answers[-1].seconds

            pairs = in_pairs(rounds, f"gpu, {size}", ours, bare)
    return _results(size, name, pairs, answers)


def _results(size: str, name: str, pairs: list[tuple[float, float]], answers: list[Done]) -> list[Result]:
    (ours, bare), work = medians(pairs), answers[-1]
    tokens = work.input - work.cached + work.output
    a_second = tokens * ours * len(answers) / sum(one.seconds * bare for one in answers)
    found = [
        Result(
            f"gpu, {size}",
            f"the tracer's consumer on {name}",
            f"{ours:.1f} trajectories/s, {a_second:,.0f} tokens/s computed and generated",
            f"bare LLM.generate {bare:.1f}",
            ratio_of(pairs),
            TARGET,
            len(pairs),
        )
    ]
    card = next((peaks for part, peaks in CARDS.items() if part in name), None)
    if card is None:
        progress(f"no peaks of {name!r} are known, so no roofline is told; add it to CARDS")
        return found
    least = roofline_s(SHAPES[size], card, work)
    share = least * ours / bare / work.seconds
    base = f"roofline {least:.2f} s for the same tokens"
    return [*found, Result(f"gpu, {size}", "share of the roofline", f"{work.seconds * bare / ours:.2f} s", base, share)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print it; 1 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="A large model on a GPU.")
    parser.add_argument("--shape", choices=tuple(SHAPES), default="8b", help="of which Qwen3 (default 8b)")
    parser.add_argument("--failures", type=int, default=400, help="how many are traced (default 400)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs (default 5)")
    asked = parser.parse_args(arguments)
    name = card_name()
    if name is None:
        print(f"NOT MEASURED: {MISSING}", file=sys.stderr)
        return 1
    print(table(measure(asked.shape, asked.failures, asked.rounds, name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
