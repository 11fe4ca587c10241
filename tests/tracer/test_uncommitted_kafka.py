"""The tracer on a real Kafka reads what was committed: half a checkpoint is never traced."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.conftest import Broker
from tests.factories import step, trajectory
from tests.tracer.bench import SOURCE, Bench
from tests.tracer.scripted import noted

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture
async def bench(kafka: Broker, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, tmp_path / "notes")
    await bench.open()
    yield bench
    await bench.close()


async def test_what_the_assembler_aborts_is_never_traced(bench: Bench) -> None:
    place = bench.partitions[0].partition
    aborted = trajectory([step(f"{bench.name}-aborted")])
    producer = AIOKafkaProducer(bootstrap_servers=bench.bootstrap, transactional_id=bench.name)
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(SOURCE.value, aborted.model_dump_json().encode(), partition=place)
    await producer.abort_transaction()
    await producer.stop()
    kept = await bench.send([""] * 3, partition=place)
    async with bench.worker():
        await bench.read(len(kept))
    await bench.read_all()
    assert sorted(bench.verdicts) == sorted(noted(bench.notes)) == kept
