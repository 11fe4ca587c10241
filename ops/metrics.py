"""The table of metrics in Prometheus' client: a worker's numbers, as text for whoever scrapes them.

Rules: a registry of its own, so that two can live in one process; only the role's own metrics are in it, and what the
process itself costs; a metric without labels is there from the start, with 0.
"""

from typing import assert_never

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from ops.roles import Role
from schemas.metrics import METRICS, Kind, Meaning, Metric

CONTENT_TYPE = CONTENT_TYPE_LATEST

disable_created_metrics()  # type: ignore[no-untyped-call]  # else every counter brings a second series, which nobody asks for


class PrometheusMetrics:
    """One worker's metrics; its calls are safe from any thread."""

    def __init__(self, role: Role) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        for name, meaning in METRICS.items():
            if name.startswith(f"{role}_"):
                self._add(name, meaning)

    def _add(self, name: Metric, meaning: Meaning) -> None:
        match meaning.kind:
            case Kind.COUNTER:
                self._counters[name] = Counter(name, meaning.help, meaning.labels, registry=self._registry)
            case Kind.GAUGE:
                self._gauges[name] = Gauge(name, meaning.help, meaning.labels, registry=self._registry)
            case Kind.HISTOGRAM:
                self._histograms[name] = Histogram(
                    name, meaning.help, meaning.labels, registry=self._registry, buckets=meaning.buckets
                )
            case _:
                assert_never(meaning.kind)

    def count(self, name: Metric, n: float = 1, /, **labels: object) -> None:
        """Raise a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(n)

    def set(self, name: Metric, value: float, /, **labels: object) -> None:
        """Put a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, name: Metric, value: float, /, **labels: object) -> None:
        """Add a value to a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def forget(self, name: Metric, /, **labels: object) -> None:
        """Drop a gauge whose subject has gone to another worker."""
        self._gauges[name].remove(*(labels[label] for label in METRICS[name].labels))

    def exposition(self) -> bytes:
        """Return everything, in Prometheus' text format."""
        return generate_latest(self._registry)
