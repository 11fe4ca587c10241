"""A promotion makes the tracer serve its adapter; one that can't be served is reported and changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas import PipelineEvent, PipelineEventKind, Promotion, TopicName
from schemas.errors import AdapterError, SettingsError
from tests.conftest import Broker
from tests.streams.real import Sent, read_topic, remake_topics, send
from tracer.promotions import folder_of, follow

BASE = "smollm2-135m"


class Adopting:
    """A tracer that only notes what it adopts, and refuses what has no weights."""

    base_model = BASE

    def __init__(self) -> None:
        self.adopted: list[str] = []

    async def adopt(self, adapter: Path | None) -> str:
        assert adapter is not None
        if (adapter / "calibration.json").exists():
            raise SettingsError(f"the calibration of {adapter.name!r} can't be read; fit it again")
        if not (adapter / "adapter_model.safetensors").exists():
            raise AdapterError(f"{adapter.name!r} has no weights; train it again")
        self.adopted.append(adapter.name)
        return adapter.name


def adapter(folder: Path, name: str, *, is_whole: bool = True) -> Path:
    made = folder / name
    made.mkdir()
    if is_whole:
        (made / "adapter_model.safetensors").write_bytes(b"weights")
    return made


def promotion(folder: Path, base: str = BASE) -> Sent:
    one = Promotion(
        promotion_id=f"promotion-{folder.name}",
        adapter=folder.name,
        adapter_uri=folder.as_uri(),
        base_model=base,
        dataset_hash="sha256:1",
        decided_by="gate",
        decided_at=datetime(2026, 3, 4, tzinfo=UTC),
    )
    return Sent(one.model_dump_json().encode(), key=folder.name.encode())


async def promote(broker: Broker, *records: Sent) -> None:
    await send(broker.bootstrap, *records, topic=TopicName.PROMOTIONS)


@asynccontextmanager
async def following(broker: Broker) -> AsyncIterator[Adopting]:
    tracer = Adopting()
    task = asyncio.create_task(follow(broker.bootstrap, tracer))
    try:
        yield tracer
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(tracer: Adopting, *adopted: str) -> None:
    async with asyncio.timeout(20):
        while tracer.adopted != list(adopted):
            await asyncio.sleep(0.05)


async def reports(broker: Broker, count: int) -> list[PipelineEvent]:
    async with asyncio.timeout(20):
        while True:
            found = await read_topic(broker.bootstrap, TopicName.PIPELINE_EVENTS)
            if len(found) >= count:
                return [PipelineEvent.model_validate_json(one.value) for one in found]
            await asyncio.sleep(0.1)


@pytest.mark.kafka
async def test_a_worker_starts_with_the_last_promotion_that_it_can_serve(kafka_alone: Broker, tmp_path: Path) -> None:
    await remake_topics(kafka_alone.bootstrap, partitions=1)
    folders = [adapter(tmp_path, name) for name in ("first", "second")]
    broken = adapter(tmp_path, "broken", is_whole=False)
    await promote(kafka_alone, *map(promotion, [*folders, broken]))
    async with following(kafka_alone) as tracer:
        await until(tracer, "second")
    (report,) = await reports(kafka_alone, 1)
    assert report.kind is PipelineEventKind.ADAPTER_REFUSED
    assert "no weights" in str(report.detail["why"])


@pytest.mark.kafka
async def test_what_is_promoted_meanwhile_is_adopted_and_what_can_not_be_served_is_reported(
    kafka_alone: Broker, tmp_path: Path
) -> None:
    await remake_topics(kafka_alone.bootstrap, partitions=1)
    async with following(kafka_alone) as tracer:
        await promote(kafka_alone, promotion(adapter(tmp_path, "first")))
        await until(tracer, "first")
        foreign = promotion(adapter(tmp_path, "foreign"), base="qwen3-8b")
        damaged = adapter(tmp_path, "damaged")
        (damaged / "calibration.json").write_text("{")
        gone = promotion(tmp_path / "gone")
        await promote(
            kafka_alone,
            foreign,
            gone,
            promotion(damaged),
            Sent(b"{}", key=b"rubbish"),
            promotion(adapter(tmp_path, "second")),
        )
        await until(tracer, "first", "second")
        found = await reports(kafka_alone, 4)
    whys = [str(one.detail["why"]) for one in found]
    assert len({one.pipeline_event_id for one in found}) == 4
    assert "is for 'qwen3-8b'" in whys[0]
    assert "there is no folder" in whys[1]
    assert "calibration" in whys[2]


@pytest.mark.parametrize("uri", ["https://host/adapter", "s3://bucket/adapter", "file://elsewhere/adapter", ""])
def test_an_adapter_that_is_not_on_this_machine_is_refused(uri: str) -> None:
    with pytest.raises(AdapterError, match="no folder of this machine"):
        folder_of(uri)


def test_a_folder_with_odd_characters_is_found(tmp_path: Path) -> None:
    made = adapter(tmp_path, "größe 1")
    assert folder_of(made.as_uri()) == made
    assert folder_of(str(made)) == made
