"""What a tracer worker tells of itself, from what its window and its answers know already.

Rules: pure; told of once a poll and once an answer, never a step.
"""

from datetime import datetime

from schemas import DeadLetter, Verdict
from schemas.metrics import Metric, Metrics

from .window import Window


def measure_window(metrics: Metrics, window: Window, now: datetime) -> None:
    """Tell what is in hand, and how long the oldest of it has been on its topic."""
    oldest_ms = window.oldest_ms
    waiting_s = 0.0 if oldest_ms is None else max(0.0, now.timestamp() - oldest_ms / 1000)
    metrics.set(Metric.TRACER_OLDEST, waiting_s)
    metrics.set(Metric.TRACER_WINDOW, window.waiting)
    metrics.set(Metric.TRACER_WINDOW_BYTES, window.size)
    metrics.set(Metric.TRACER_IN_WORK, window.in_work)


def measure_answer(metrics: Metrics, answer: Verdict | DeadLetter) -> None:
    """Tell of an answer that the broker has."""
    if isinstance(answer, DeadLetter):
        metrics.count(Metric.TRACER_DEAD_LETTERS, reason=answer.reason)
        return
    metrics.count(Metric.TRACER_VERDICTS, status=answer.status)
    tokens = answer.tokens
    for kind, count in (
        ("computed", tokens.input - tokens.cached),
        ("cached", tokens.cached),
        ("written", tokens.output),
    ):
        metrics.count(Metric.TRACER_TOKENS, max(0, count), kind=kind)
    metrics.observe(Metric.TRACER_QUEUED, answer.queued_ms / 1000)
    metrics.observe(Metric.TRACER_TRACED, answer.traced_ms / 1000)
