"""Killed between a verdict and its commit, promoted, restarted: two verdicts on the topic, and the first one stands."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas import Promotion, TopicName
from streams.sink import Store
from tests.conftest import Broker
from tests.stores import own_store, rows
from tests.streams.real import Sent, send
from tests.streams.sinks import settings_for, sinking, until
from tests.tracer.bench import Bench
from tests.tracer.engines.adapters import looks_like_one

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
async def bench(kafka: Broker, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, tmp_path / "notes")
    await bench.open()
    yield bench
    await bench.close()


def promotion(adapter: Path, base: str) -> Sent:
    one = Promotion(
        promotion_id=base,
        adapter=adapter.name,
        adapter_uri=adapter.as_uri(),
        base_model=base,
        dataset_hash="sha256:1",
        decided_by="gate",
        decided_at=datetime(2026, 3, 4, tzinfo=UTC),
    )
    return Sent(one.model_dump_json().encode(), key=adapter.name.encode())


async def test_a_kill_between_verdict_and_commit_and_a_promotion_leave_one_standing_verdict(
    bench: Bench, store: Store, tmp_path: Path
) -> None:
    settings, base = await settings_for(bench.bootstrap, store), f"scripted-{bench.name}"
    (failed,) = await bench.send(["a failure"])
    first = await bench.process("promoting", base, "killed", instance_id=bench.name)
    assert await first.wait() == -9
    adapter = looks_like_one(tmp_path / "promoted")
    await send(bench.bootstrap, promotion(adapter, base), topic=TopicName.PROMOTIONS)
    second = await bench.process("promoting", base, "promoted", instance_id=bench.name)
    async with sinking(settings) as task:
        await bench.read(1)
        query = f"SELECT count() FROM verdicts_all WHERE trajectory_id = '{failed}'"
        await until(lambda: rows(store, query) == [(2,)], "both verdicts", task)
    second.terminate()
    assert await second.wait() == 0
    await bench.read_all()
    before, after = (verdict for _, verdict in bench.verdicts[failed])
    assert before.tracer_version != after.tracer_version
    assert after.tracer_version.startswith(f"{base}+")
    assert (before.attempts, after.attempts) == (1, 2)
    assert rows(store, "SELECT verdict_id, tracer_version FROM verdicts") == [
        (before.verdict_id, before.tracer_version)
    ]
    query = "SELECT tracer_version, standing FROM verdicts_all ORDER BY record_offset"
    assert rows(store, query) == [(before.tracer_version, 1), (after.tracer_version, 0)]
