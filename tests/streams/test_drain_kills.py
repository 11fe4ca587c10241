"""The sink, the store and the broker are killed in mid-work; afterwards the store holds exactly what was sent."""

import asyncio
import logging
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ops.embedded.store import EmbeddedStore
from ops.kafka.server import KafkaServer
from ops.query import counts, step_ids
from schemas import Trajectory
from streams.drain import RECORDS_A_POLL, _clients, _Sink, drain
from streams.sink import Store
from streams.sink_settings import SinkSettings
from tests.conftest import Broker
from tests.stores import own_store
from tests.streams.sinks import count, ids, lag, runs, send, sent, settings_for, sinking, start_process, until

pytestmark = pytest.mark.kafka


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


async def feed(settings: SinkSettings, all_of: Sequence[Trajectory], parts: int, pause_s: float) -> None:
    """Send trajectories in parts, so that the sink is in mid-work all the time."""
    size = len(all_of) // parts
    for start in range(0, len(all_of), size):
        await send(settings.bootstrap, map(sent, all_of[start : start + size]))
        await asyncio.sleep(pause_s)


async def progress(store: Store) -> None:
    """Wait until more is stored than now."""
    seen = count(store, "trajectories")
    await until(lambda: count(store, "trajectories") > seen, "progress")


def assert_exact(store: Store, all_of: Sequence[Trajectory]) -> None:
    found = counts(store.client)
    assert step_ids(store.client) == ids(all_of)
    assert found["trajectories"].rows == len(all_of)
    assert found["steps"].rows == len(ids(all_of))
    assert {counted.duplicates for counted in found.values()} == {0}


async def test_a_sink_that_is_killed_again_and_again_leaves_the_exact_sets(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store, instance_id="sink-under-test", sink_batch_rows=500)
    all_of = runs("killed", 4_000, steps=3)
    feeding = asyncio.create_task(feed(settings, all_of, parts=40, pause_s=0.15))
    process = start_process(settings)
    for _ in range(3):
        await progress(store)
        assert process.poll() is None
        process.kill()
        process.wait()
        assert count(store, "trajectories") < len(all_of), "the sink was done before it was killed: nothing was tested"
        process = start_process(settings)
    await feeding
    await until(lambda: count(store, "trajectories") == len(all_of), "all of them")
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert_exact(store, all_of)
    assert await lag(settings) == 0


async def test_a_sink_that_was_frozen_until_another_took_over_changes_nothing_when_it_wakes(
    kafka: Broker, store: Store
) -> None:
    settings = await settings_for(kafka.bootstrap, store, sink_batch_rows=300)
    all_of = runs("frozen", 3_000, steps=3)
    feeding = asyncio.create_task(feed(settings, all_of, parts=50, pause_s=0.15))
    first = start_process(settings)
    await progress(store)
    first.send_signal(signal.SIGSTOP)
    second = start_process(settings)
    await progress(store)
    first.send_signal(signal.SIGCONT)
    await feeding
    await until(lambda: count(store, "trajectories") == len(all_of), "all of them")
    for process in (first, second):
        process.send_signal(signal.SIGTERM)
    assert [await asyncio.to_thread(process.wait, 20) for process in (first, second)] == [0, 0]
    assert_exact(store, all_of)
    assert await lag(settings) == 0


async def test_a_store_that_is_killed_loses_nothing_and_the_sink_stays_in_its_group(
    kafka: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentracer.sink")
    with EmbeddedStore(tmp_path / "store") as server, own_store(server.url) as store:
        settings = await settings_for(kafka.bootstrap, store, sink_batch_rows=400)
        all_of = runs("outage", 3_000, steps=3)
        async with sinking(settings) as task:
            feeding = asyncio.create_task(feed(settings, all_of, parts=30, pause_s=0.1))
            await progress(store)
            server.kill()
            await asyncio.sleep(3)
            await asyncio.to_thread(server.start)
            await feeding
            await until(lambda: count(store, "trajectories") == len(all_of), "all of them", task)
        assert_exact(store, all_of)
        said = [record.message for record in caplog.records]
        assert said.count("assigned") == 1
        assert {"store away", "store back"} <= set(said)
        assert await lag(settings) == 0


async def test_while_the_store_is_away_memory_has_a_bound_and_every_partition_is_paused(
    kafka: Broker, tmp_path: Path
) -> None:
    with EmbeddedStore(tmp_path / "store") as server, own_store(server.url) as store:
        settings = await settings_for(kafka.bootstrap, store, sink_batch_rows=400)
        async with _clients(settings) as (consumer, producer):
            sink, stop = _Sink(settings, store, consumer, producer), asyncio.Event()
            task = asyncio.create_task(sink.run(stop))
            await until(lambda: bool(consumer.assignment()), "an assignment", task)
            server.kill()
            all_of = runs("bounded", 4_000, steps=3)
            await send(settings.bootstrap, map(sent, all_of))
            await until(lambda: bool(consumer.paused()) and consumer.paused() == consumer.assignment(), "a pause", task)
            await asyncio.sleep(1)
            assert sink._filling.row_count <= 400 + 4 * RECORDS_A_POLL
            await asyncio.to_thread(server.start)
            await until(lambda: count(store, "trajectories") == len(all_of), "all of them", task)
            stop.set()
            await task
        assert_exact(store, all_of)


async def test_a_sink_told_to_stop_while_the_store_is_away_leaves_in_time_and_commits_nothing(
    kafka: Broker, tmp_path: Path
) -> None:
    with EmbeddedStore(tmp_path / "store") as server, own_store(server.url) as store:
        settings = await settings_for(kafka.bootstrap, store, sink_stop_s=1)
        async with sinking(settings) as task:
            await until(lambda: store.ping() and not task.done(), "the sink", task)
            await asyncio.sleep(1)
            server.kill()
            all_of = runs("waiting", 50)
            await send(settings.bootstrap, map(sent, all_of))
            await asyncio.sleep(1)
            stopped = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - stopped < 5
        assert await lag(settings) == 50
        await asyncio.to_thread(server.start)
        async with sinking(settings) as task:
            await until(lambda: count(store, "trajectories") == 50, "all of them", task)
        assert_exact(store, all_of)


async def test_a_broker_that_is_killed_loses_nothing(kafka: Broker, store: Store) -> None:
    del kafka  # it shows that Kafka can be run here
    with KafkaServer() as server:
        settings = await settings_for(server.bootstrap, store)
        all_of = runs("broker", 600)
        async with sinking(settings) as task:
            await send(settings.bootstrap, map(sent, all_of[:300]))
            await until(lambda: count(store, "trajectories") > 0, "a beginning", task)
            await asyncio.to_thread(server.restart)
            await send(settings.bootstrap, map(sent, all_of[300:]))
            await until(lambda: count(store, "trajectories") == 600, "all of them", task)
        assert_exact(store, all_of)
        assert await lag(settings) == 0


async def test_a_failure_that_no_waiting_mends_ends_the_sink(kafka: Broker, store: Store) -> None:
    settings = await settings_for(kafka.bootstrap, store)
    store.client.command("DROP TABLE steps_raw")
    await send(kafka.bootstrap, map(sent, runs("lost", 3)))
    with pytest.raises(Exception, match="run `agentracer migrate`"):
        await asyncio.wait_for(drain(settings, asyncio.Event()), 20)
    assert await lag(settings) == 3
