"""What a streams worker and a sink tell of themselves, from numbers that a checkpoint or a poll has anyway.

Rules: nothing here is called per event; a partition's gauges go with the partition; consumers are asked for what
they know already, never the broker.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from time import time
from typing import Any

from schemas.health import silence
from schemas.metrics import Metric, Metrics

from .assemble import Assembler
from .checkpoint import Checkpoint, Due

OF_A_PARTITION = (
    Metric.STREAMS_LAG,
    Metric.STREAMS_OPEN,
    Metric.STREAMS_OPEN_BYTES,
    Metric.STREAMS_MARKERS,
    Metric.STREAMS_MARKER_BYTES,
    Metric.STREAMS_CHECKPOINT_AT,
)


def measure_held(metrics: Metrics, assembler: Assembler) -> None:
    """Tell what a partition holds, just after all of it was known to be on the broker."""
    partition = assembler.partition
    metrics.set(Metric.STREAMS_OPEN, len(assembler.open), partition=partition)
    metrics.set(Metric.STREAMS_OPEN_BYTES, assembler.open_bytes, partition=partition)
    metrics.set(Metric.STREAMS_MARKERS, len(assembler.markers), partition=partition)
    metrics.set(Metric.STREAMS_MARKER_BYTES, assembler.marker_bytes, partition=partition)
    metrics.set(Metric.STREAMS_CHECKPOINT_AT, time(), partition=partition)


def forget_partition(metrics: Metrics, partition: int) -> None:
    """Drop the gauges of a partition that another worker may tell of from now on."""
    for name in OF_A_PARTITION:
        metrics.forget(name, partition=partition)


def late_events(closing: Iterable[Due]) -> int:
    """Count what came after a trajectory was published, of those that are published again now."""
    return sum(len(one.steps) + len(one.outcomes) for one, _ in closing if one.marker is not None)


def measure_read_back(metrics: Metrics, cached: Collection[bytes | None], read: Collection[bytes | None]) -> None:
    """Tell where published revisions that are needed again were found; what the cache lacks is read, if it can be."""
    hits, there = (sum(value is not None for value in values) for values in (cached, read))
    for source, n in {"cache": hits, "topic": there, "nowhere": len(cached) - hits - there}.items():
        metrics.count(Metric.STREAMS_READ_BACK, n, source=source)


def measure_checkpoint(metrics: Metrics, checkpoint: Checkpoint, late: int, seconds: float) -> None:
    """Tell what a committed checkpoint held, and how long it took."""
    metrics.observe(Metric.STREAMS_CHECKPOINT_TIME, seconds)
    metrics.observe(Metric.STREAMS_CHECKPOINT_BYTES, _size(checkpoint))
    metrics.observe(Metric.STREAMS_CHECKPOINT_RECORDS, _records(checkpoint))
    metrics.count(Metric.STREAMS_FOLDED, checkpoint.events)
    metrics.count(Metric.STREAMS_LATE, late)
    metrics.count(Metric.STREAMS_FORWARDED, len(checkpoint.forwards))
    metrics.count(Metric.STREAMS_REOPENED, sum(one.marker.revision > 1 for one, _ in checkpoint.closed))
    for closed, n in Counter(one.marker.close_reason for one, _ in checkpoint.closed).items():
        metrics.count(Metric.STREAMS_CLOSED, n, reason=closed)
    for routed, n in Counter(routing.reason for _, routing in checkpoint.closed if routing is not None).items():
        metrics.count(Metric.STREAMS_ROUTED, n, reason=routed)
    for refused, n in Counter(one.reason for one in checkpoint.dead_letters).items():
        metrics.count(Metric.STREAMS_DEAD_LETTERS, n, reason=refused)


def _records(checkpoint: Checkpoint) -> int:
    """Count its records on all topics: a closed trajectory is one, its marker one, and one more if it is traced."""
    traced = sum(routing is not None for _, routing in checkpoint.closed)
    beside = len(checkpoint.dead_letters) + len(checkpoint.forwards) + len(checkpoint.outcomes)
    return 2 * len(checkpoint.closed) + traced + beside + len(checkpoint.reports) + len(checkpoint.state) + 1


def _size(checkpoint: Checkpoint) -> int:
    closed = sum(len(one.steps) for one, _ in checkpoint.closed)
    state = sum(len(value) for _, value in checkpoint.state if value is not None)
    outcomes = sum(len(raw) for _, raw in checkpoint.outcomes)
    letters = sum(len(one.value or b"") for one in checkpoint.dead_letters)
    return closed + state + outcomes + letters + sum(len(one.raw) for one in checkpoint.forwards)


def end_of(consumer: Any, tp: Any) -> int | None:
    """Return up to where a partition had something to read when the broker answered last."""
    if tp not in consumer.assignment():
        return None
    stable: int | None = consumer.last_stable_offset(tp)
    high: int | None = consumer.highwater(tp)
    return stable if stable is not None and stable >= 0 else high


def silence_of(consumer: Any) -> str | None:
    """Say for how long the broker has not answered a consumer, if it was asked and that is long."""
    asked = consumer.assignment() - consumer.paused()
    answers = [at for at in map(consumer.last_poll_timestamp, asked) if at is not None]
    return silence(time() - max(answers) / 1_000) if answers else None
