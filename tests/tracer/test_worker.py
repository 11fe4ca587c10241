"""The process around the worker: its start and its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from schemas.errors import BrokerUnavailableError, EngineError, SettingsError
from schemas.health import STILL_S, Health
from schemas.metrics import UNMETERED
from tracer import kafka, worker
from tracer.consume import TracerWorker
from tracer.kafka import SOURCE
from tracer.protocol import Tracer
from tracer.reread import RecordReader
from tracer.rules import by_name
from tracer.settings import TracerSettings
from tracer.trace import SystemClock
from tracer.worker import run, run_in_loop


def test_an_unknown_tracer_ends_the_worker_before_it_looks_for_a_broker() -> None:
    with pytest.raises(SettingsError, match="no tracer 'oracle'"):
        run_in_loop(run(TracerSettings(tracer="oracle", bootstrap="127.0.0.1:1")))


def test_an_error_of_ours_comes_out_of_the_loop_as_it_is() -> None:
    with pytest.raises(BrokerUnavailableError, match=r"no broker answers at '127.0.0.1:1'"):
        run_in_loop(run(TracerSettings(bootstrap="127.0.0.1:1", start_timeout_s=2)))


def test_a_worker_whose_model_takes_minutes_to_load_is_alive_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    health = Health(lambda: now)
    said: list[tuple[str | None, str | None]] = []

    @contextlib.asynccontextmanager
    async def slow(_settings: TracerSettings) -> AsyncIterator[Tracer]:
        nonlocal now
        for _ in range(3):
            now += STILL_S
            await asyncio.sleep(0.05)
            said.append((health.not_alive(STILL_S), health.not_ready()))
        raise EngineError("out of memory")
        yield

    monkeypatch.setattr(worker, "chosen", slow)
    monkeypatch.setattr(worker, "BEAT_S", 0.01)
    with pytest.raises(EngineError, match="out of memory"):
        asyncio.run(run(TracerSettings(tracer="slow"), health=health))
    assert said == [(None, "no partitions assigned; the tracer's model is being loaded")] * 3


class Dying:
    """A client whose own tasks were cancelled when its connection went."""

    async def stop(self) -> None:
        raise asyncio.CancelledError


async def test_a_client_that_ends_badly_hides_nothing_of_what_ended_the_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def started(*_: object) -> None:
        pass

    monkeypatch.setattr(kafka, "_consumer", lambda _: Dying())
    monkeypatch.setattr(kafka, "_producer", lambda _: Dying())
    monkeypatch.setattr(kafka, "_start", started)
    with pytest.raises(BrokerUnavailableError, match="gone"):
        async with kafka.clients(TracerSettings()):
            raise BrokerUnavailableError("gone")


class Fetched:
    """A consumer that has fetched far ahead, and gives out one partition after the other as the real one does."""

    def __init__(self, times: dict[int, list[int]]) -> None:
        self.left = {TopicPartition(SOURCE.value, number): list(left) for number, left in times.items()}

    def assignment(self) -> set[TopicPartition]:
        return set(self.left)

    async def getmany(self, *partitions: TopicPartition, max_records: int, **_: object) -> dict[Any, list[Any]]:
        await asyncio.sleep(0)
        for one in partitions or self.left:
            if self.left[one]:
                given, self.left[one] = self.left[one][:max_records], self.left[one][max_records:]
                return {one: [SimpleNamespace(timestamp=at) for at in given]}
        return {}


async def test_no_partition_is_read_far_ahead_of_another() -> None:
    consumer: Any = Fetched({0: list(range(0, 8_000, 2)), 1: list(range(1, 8_000, 2)), 2: [4_000], 3: []})
    settings = TracerSettings(tracer_window=200)
    reader, producer = RecordReader("nowhere"), cast("Any", None)
    worker = TracerWorker(
        settings, by_name("last_step"), SystemClock(), consumer, producer, reader, UNMETERED, Health()
    )
    reached = {0: 0, 1: 0}
    while any(consumer.left.values()):
        ((partition, records),) = (await worker._read()).items()
        reached[partition.partition] = records[-1].timestamp
        assert abs(reached[0] - reached[1]) <= 2 * 200 // 8 * 2
