"""The bag-of-words row: a logistic regression over the words of one step, trained on the runs that the tracer is.

Rules: pure, without a library; a step is the set of its words, its agent, its kind and its tool, and numbers are one
word (a bag can't compare them); the same runs and seed give the same weights.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from schemas import StepEvent, Trajectory
from tracer.verdict import texts

EPOCHS = 8
RATE = 0.1
DECAY = 1e-4
WORD = re.compile(r"[A-Za-z_]+|\d+")


def bag(step: StepEvent) -> frozenset[str]:
    """Return the words of a step."""
    said = {"#" if word.isdigit() else word.lower() for text in texts(step) for word in WORD.findall(text)}
    marks = {f"agent={step.agent}", f"kind={step.kind}", f"tool={step.tool.name if step.tool else ''}", "(always)"}
    return frozenset(said | marks)


class BagOfWords:
    """A weight a word."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights

    def scores(self, trajectory: Trajectory) -> list[float]:
        """Return the log-odds of every step."""
        return [sum(self._weights.get(word, 0.0) for word in bag(step)) for step in trajectory.steps]


def fit(runs: Iterable[tuple[Trajectory, int]], seed: int = 0) -> BagOfWords:
    """Fit the weights to trajectories with their decisive steps, by stochastic gradient descent."""
    rows = [(bag(step), n == decisive) for run, decisive in runs for n, step in enumerate(run.steps)]
    weights: dict[str, float] = {}
    rng = Random(seed)  # noqa: S311  an order of rows
    for epoch in range(EPOCHS):
        rng.shuffle(rows)
        for words, is_decisive in rows:
            _learn(weights, sorted(words), is_decisive, RATE / (1 + epoch))
    return BagOfWords(weights)


def _learn(weights: dict[str, float], words: Sequence[str], is_decisive: bool, rate: float) -> None:  # noqa: FBT001
    said = sum(weights.get(word, 0.0) for word in words)
    push = float(is_decisive) - 1 / (1 + math.exp(-max(-30.0, min(30.0, said))))
    for word in words:
        old = weights.get(word, 0.0)
        weights[word] = old + rate * (push - DECAY * old)
