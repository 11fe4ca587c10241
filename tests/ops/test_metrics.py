"""The table in Prometheus' client: what a scraper reads."""

from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.metrics import PrometheusMetrics
from ops.roles import Role
from schemas.kinds import CloseReason
from schemas.metrics import METRICS, Kind, Metric

LABELS = {
    "partition": 3,
    "topic": "verdicts",
    "reason": "idle",
    "table": "steps",
    "status": "abstained",
    "source": "x",
    "kind": "y",
}


def read(metrics: PrometheusMetrics) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Return the samples by name and labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def value(metrics: PrometheusMetrics, name: str, labels: Mapping[str, object] | None = None) -> float | None:
    """Return one sample; None where there is none."""
    wanted = frozenset((key, str(one)) for key, one in (labels or {}).items())
    return read(metrics).get(name, {}).get(wanted)


@pytest.mark.parametrize("role", Role)
def test_every_metric_of_a_role_is_told_as_the_table_has_it_and_none_of_another(role: Role) -> None:
    metrics = PrometheusMetrics(role)
    own = {name: meaning for name, meaning in METRICS.items() if name.startswith(f"{role}_")}
    for name, meaning in own.items():
        labels = {label: LABELS[label] for label in meaning.labels}
        match meaning.kind:
            case Kind.COUNTER:
                metrics.count(name, 2, **labels)
            case Kind.GAUGE:
                metrics.set(name, 5, **labels)
            case Kind.HISTOGRAM:
                metrics.observe(name, meaning.buckets[0], **labels)
    families = {one.name: one for one in text_string_to_metric_families(metrics.exposition().decode())}
    assert {name for name in families if name.startswith(tuple(Role))} == {name.removesuffix("_total") for name in own}
    for name, meaning in own.items():
        family = families[name.removesuffix("_total")]
        assert (family.type, family.documentation) == (meaning.kind, meaning.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(meaning.labels)


def test_a_counter_rises_and_one_without_labels_stands_at_nought_from_the_start() -> None:
    metrics = PrometheusMetrics(Role.STREAMS)
    assert value(metrics, Metric.STREAMS_FOLDED) == 0
    metrics.count(Metric.STREAMS_FOLDED, 40)
    metrics.count(Metric.STREAMS_FOLDED)
    metrics.count(Metric.STREAMS_CLOSED, 3, reason=CloseReason.IDLE)
    assert value(metrics, Metric.STREAMS_FOLDED) == 41
    assert value(metrics, Metric.STREAMS_CLOSED, {"reason": "idle"}) == 3


def test_a_gauge_is_gone_with_its_partition_and_may_go_twice() -> None:
    metrics = PrometheusMetrics(Role.SINK)
    metrics.set(Metric.SINK_LAG, 7, topic="verdicts", partition=1)
    metrics.set(Metric.SINK_LAG, 8, topic="verdicts", partition=2)
    metrics.forget(Metric.SINK_LAG, topic="verdicts", partition=1)
    metrics.forget(Metric.SINK_LAG, topic="verdicts", partition=1)
    assert value(metrics, Metric.SINK_LAG, {"topic": "verdicts", "partition": 1}) is None
    assert value(metrics, Metric.SINK_LAG, {"topic": "verdicts", "partition": 2}) == 8


def test_a_histogram_has_the_tables_buckets() -> None:
    metrics = PrometheusMetrics(Role.STREAMS)
    metrics.observe(Metric.STREAMS_CHECKPOINT_TIME, 0.03)
    found = read(metrics)[f"{Metric.STREAMS_CHECKPOINT_TIME}_bucket"]
    bounds = {float(dict(labels)["le"]): count for labels, count in found.items()}
    assert set(bounds) == {*METRICS[Metric.STREAMS_CHECKPOINT_TIME].buckets, float("inf")}
    assert {bound for bound, count in bounds.items() if count} == {bound for bound in bounds if bound >= 0.03}


def test_two_live_in_one_process_and_both_tell_what_the_process_costs() -> None:
    one, other = PrometheusMetrics(Role.TRACER), PrometheusMetrics(Role.TRACER)
    one.count(Metric.TRACER_ATTEMPTS)
    assert value(one, Metric.TRACER_ATTEMPTS) == 1
    assert value(other, Metric.TRACER_ATTEMPTS) == 0
    for metrics in (one, other):
        assert (value(metrics, "process_resident_memory_bytes") or 0) > 1e6


def test_what_the_table_does_not_have_is_refused() -> None:
    metrics = PrometheusMetrics(Role.SINK)
    with pytest.raises(ValueError, match="label"):
        metrics.count(Metric.SINK_DEAD_LETTERS, why="empty")
    with pytest.raises(KeyError):
        metrics.count(Metric.STREAMS_FOLDED)
