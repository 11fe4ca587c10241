"""Twice the capacity and a kill -9 on a real Kafka, in short; `python -m tests.tracer.overload` is the long one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import Broker
from tests.tracer.bench import Bench
from tests.tracer.overload import Plan, overload, table

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
PLAN = Plan(10.0, wait_s=3.0)


@pytest.fixture
async def bench(kafka: Broker, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, tmp_path / "notes")
    await bench.open()
    yield bench
    await bench.close()


async def test_under_twice_the_load_and_a_kill_every_failure_has_its_verdict_and_none_is_traced_twice(
    bench: Bench,
) -> None:
    report = await overload(bench, PLAN)
    assert report.is_clean, report
    assert report.failures > 0.9 * 2 * PLAN.capacity * PLAN.seconds
    assert report.shed > 0.2 * report.failures, "it was no overload"
    assert report.verdicts > report.shed
    assert table(PLAN, report).row_count == 9
