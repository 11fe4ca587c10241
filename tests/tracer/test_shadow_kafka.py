"""A candidate beside the tracer on a real Kafka: it comes second, and its hanging and its death touch nobody else."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from schemas import VerdictPurpose
from tests.conftest import Broker
from tests.tracer.bench import Bench
from tests.tracer.scripted import noted
from tests.tracer.shadowed import second
from tracer.shadow import is_drawn

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
SERVED, SHADOWED = ("1", VerdictPurpose.SERVE), ("2", VerdictPurpose.SHADOW)


@pytest.fixture
async def bench(kafka: Broker, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, tmp_path / "notes")
    bench.candidate = partial(second, bench.notes)
    await bench.open()
    yield bench
    await bench.close()


def said(bench: Bench, trajectory_id: str) -> list[tuple[str, VerdictPurpose]]:
    """Return by whom and what for a trajectory was judged, in the order of the topic."""
    return [(found.tracer_version, found.purpose) for _, found in bench.verdicts[trajectory_id]]


async def until(bench: Bench, event: str, count: int) -> None:
    async with asyncio.timeout(20):
        while len(noted(bench.notes, event)) < count:
            await asyncio.sleep(0.02)


async def test_a_share_gets_a_second_verdict_behind_the_one_that_serves(bench: Bench) -> None:
    ids = await bench.send([""] * 40)
    drawn = {one for one in ids if is_drawn(one, 1, 0.4)}
    assert 0 < len(drawn) < len(ids)
    async with bench.worker(tracer_shadow_share=0.4):
        await until(bench, "shadow", len(drawn))
        await asyncio.sleep(0.5)
    await bench.read(len(ids))
    await bench.read_all()
    assert {one: said(bench, one) for one in ids} == {
        one: [SERVED, SHADOWED] if one in drawn else [SERVED] for one in ids
    }
    for one in drawn:
        (partition, served), (beside, shadow) = bench.verdicts[one]
        assert (partition, served.event_id) == (beside, shadow.event_id)
        assert served.verdict_id != shadow.verdict_id
    ends = await bench.group.end_offsets(bench.partitions)
    assert {partition: await bench.group.committed(partition) for partition in bench.partitions} == ends


async def test_a_candidate_that_hangs_holds_up_neither_verdicts_nor_the_end(bench: Bench) -> None:
    first = await bench.send(["shadow hang"])
    async with bench.worker(tracer_shadow_share=1.0) as stop:
        await until(bench, "shadow", 1)
        more = await bench.send([""] * 30)
        await bench.read(len(first + more))
        stop.set()
        told = time.monotonic()
    assert time.monotonic() - told < 5
    await bench.read_all()
    assert {one: said(bench, one) for one in first + more} == {one: [SERVED] for one in first + more}


async def test_a_candidate_that_kills_its_worker_costs_its_own_verdict_and_no_other(bench: Bench) -> None:
    (poison,) = await bench.send(["shadow exit"])
    worker = await bench.process("shadowed", tracer_shadow_share=1.0, instance_id=bench.name)
    assert await worker.wait() == 9
    more = await bench.send([""] * 6)
    worker = await bench.process("shadowed", tracer_shadow_share=1.0, instance_id=bench.name)
    await until(bench, "shadow", 7)
    await asyncio.sleep(0.5)
    worker.terminate()
    assert await worker.wait() == 0
    await bench.read(7)
    await bench.read_all()
    assert said(bench, poison) == [SERVED]
    assert {one: said(bench, one) for one in more} == {one: [SERVED, SHADOWED] for one in more}
    assert Counter(noted(bench.notes)) == Counter(noted(bench.notes, "shadow")) == Counter([poison, *more])
