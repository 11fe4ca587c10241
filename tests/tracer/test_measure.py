"""What a tracer tells of its answers."""

from prometheus_client.parser import text_string_to_metric_families

from ops.metrics import PrometheusMetrics
from ops.roles import Role
from schemas import Tokens
from tests.factories import verdict
from tracer.measure import measure_answer


def test_tokens_are_counted_by_what_they_cost() -> None:
    metrics = PrometheusMetrics(Role.TRACER)
    for _ in range(2):
        measure_answer(metrics, verdict(tokens=Tokens(input=1_000, cached=900, output=7)))
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == "tracer_tokens_used_total"]
    assert {sample.labels["kind"]: sample.value for sample in samples} == {
        "computed": 200,
        "cached": 1_800,
        "written": 14,
    }
