"""The table of metrics, held against itself and against every call in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from schemas.metrics import METRICS, UNMETERED, Kind, Metric
from streams.measure import OF_A_PARTITION

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("streams", "tracer", "trainer", "ops") for path in (ROOT / package).rglob("*.py"))
METHODS = {"count": Kind.COUNTER, "set": Kind.GAUGE, "observe": Kind.HISTOGRAM, "forget": Kind.GAUGE}
UNITS = ("_records", "_bytes", "_seconds", "_total")
COUNTS = {Metric.STREAMS_OPEN, Metric.STREAMS_MARKERS, Metric.TRACER_IN_WORK, Metric.SINK_STORE_AWAY}
"""Gauges of things, which have no unit but themselves."""


class Call(NamedTuple):
    """A call that counts or measures, as it stands in the code."""

    where: str
    method: str
    metric: Metric
    labels: set[str]


def _calls() -> Iterator[Call]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                named = _named(node.args[0])
                if named is not None:
                    labels = {keyword.arg or "**" for keyword in node.keywords}
                    yield Call(f"{path.relative_to(ROOT)}:{node.lineno}", node.func.attr, named, labels)


def _named(node: ast.expr) -> Metric | None:
    """Return the metric that an expression names; a name that is not in the table raises."""
    is_name = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Metric"
    return Metric[node.attr] if is_name and isinstance(node, ast.Attribute) else None


CALLS = list(_calls())


def test_every_name_has_a_meaning_and_no_meaning_is_without_a_name() -> None:
    assert list(METRICS) == list(Metric)


@pytest.mark.parametrize("metric", Metric)
def test_a_name_says_role_noun_and_unit(metric: Metric) -> None:
    assert re.fullmatch(r"(streams|tracer|sink)(_[a-z]+)+", metric)
    assert metric.name.startswith(metric.split("_")[0].upper())
    assert metric in COUNTS or metric.endswith(UNITS)
    assert metric.endswith("_total") == (METRICS[metric].kind is Kind.COUNTER)


@pytest.mark.parametrize("metric", Metric)
def test_a_meaning_is_one_sentence_and_only_histograms_have_buckets(metric: Metric) -> None:
    meaning = METRICS[metric]
    assert re.fullmatch(r"[A-Z0-9][^\n]+[^.]\.", meaning.help)
    assert bool(meaning.buckets) == (meaning.kind is Kind.HISTOGRAM)
    assert list(meaning.buckets) == sorted(set(meaning.buckets))
    assert len(meaning.labels) == len(set(meaning.labels)) <= 2


def test_every_metric_is_told_of_somewhere() -> None:
    assert {call.metric for call in CALLS if call.method != "forget"} == set(Metric)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.where}-{call.metric}")
def test_a_call_fits_the_tables_kind_and_labels(call: Call) -> None:
    assert METHODS[call.method] is METRICS[call.metric].kind
    assert call.labels == set(METRICS[call.metric].labels)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.where}-{call.metric}")
def test_a_role_tells_of_itself_alone(call: Call) -> None:
    role = call.metric.split("_")[0]
    files = {"sink": "streams/drain.py", "streams": "streams/", "tracer": "tracer/"}
    assert call.where.startswith(files[role])
    assert role == "sink" or not call.where.startswith(files["sink"])


def test_a_partitions_gauges_are_all_forgotten_with_it() -> None:
    of_a_partition = {name for name, meaning in METRICS.items() if "partition" in meaning.labels}
    forgotten = {call.metric for call in CALLS if call.method == "forget"} | set(OF_A_PARTITION)
    assert forgotten == of_a_partition
    assert all(METRICS[name].labels == ("partition",) for name in OF_A_PARTITION)


def test_unmetered_takes_everything() -> None:
    UNMETERED.count(Metric.STREAMS_CLOSED, 2, reason="idle")
    UNMETERED.set(Metric.STREAMS_LAG, 1, partition=0)
    UNMETERED.observe(Metric.STREAMS_CHECKPOINT_TIME, 0.1)
    UNMETERED.forget(Metric.STREAMS_LAG, partition=0)
