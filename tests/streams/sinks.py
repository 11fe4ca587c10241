"""A sink in a test: what feeds it, what runs it, and what the store says afterwards.

Tests share one broker and its topics, so each has a group of its own that begins at the topics' ends, ids of its own,
and a database of its own.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from ops import child
from ops.client import apply_topics
from schemas import Trajectory
from schemas.errors import TopicError
from streams.drain import drain
from streams.sink import Store
from streams.sink_settings import SinkSettings
from streams.unpack import READ
from tests.factories import step, trajectory

Sent = tuple[str, bytes | None, bytes | None]
"""Topic, key, value."""
Headers = Sequence[tuple[str, bytes]]
WAIT_S = 40.0


async def settings_for(bootstrap: str, store: Store, **fields: Any) -> SinkSettings:
    """Return settings of a group that begins at the ends of all topics."""
    with suppress(TopicError):  # another number of partitions is as good
        await apply_topics(bootstrap, partitions=4, replicas=1)
    defaults: dict[str, Any] = {
        "bootstrap": bootstrap,
        "clickhouse_url": f"http://{store.address}/{store.database}",
        "sink_group": f"sink-{uuid4().hex}",
        "sink_flush_ms": 100,
        "session_timeout_ms": 6_000,
    }
    settings = SinkSettings(**defaults | fields)
    await _begin_at_the_ends(settings)
    return settings


async def _begin_at_the_ends(settings: SinkSettings) -> None:
    async with _reader(settings) as reader:
        partitions = await _partitions(settings.bootstrap)
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        await reader.commit({tp: OffsetAndMetadata(end, "") for tp, end in ends.items()})


async def lag(settings: SinkSettings) -> int:
    """Return how many offsets the group is behind, over all topics."""
    async with _reader(settings) as reader:
        partitions = await _partitions(settings.bootstrap)
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        return sum([end - (await reader.committed(tp) or 0) for tp, end in ends.items()])


@asynccontextmanager
async def _reader(settings: SinkSettings) -> AsyncIterator[Any]:
    reader = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap, group_id=settings.sink_group, enable_auto_commit=False
    )
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


async def _partitions(bootstrap: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        found = await admin.describe_topics([str(topic) for topic in READ])
    finally:
        await admin.close()
    return [TopicPartition(topic["topic"], one["partition"]) for topic in found for one in topic["partitions"]]


async def read_topic(bootstrap: str, topic: str) -> list[Any]:
    """Return every record that a topic's first partition holds now."""
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await reader.start()
    try:
        tp = TopicPartition(topic, 0)
        reader.assign([tp])
        await reader.seek_to_beginning(tp)
        end = (await reader.end_offsets([tp]))[tp]
        records: list[Any] = []
        while await reader.position(tp) < end:
            for found in (await reader.getmany(timeout_ms=200)).values():
                records += found
        return records
    finally:
        await reader.stop()


async def send(bootstrap: str, records: Iterable[Sent], *, headers: Headers = (), idempotent: bool = True) -> None:
    """Send records, and return when all are acknowledged."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        linger_ms=5,
        max_batch_size=262_144,
        max_request_size=33_000_000,
        enable_idempotence=idempotent,
    )
    await producer.start()
    try:
        await asyncio.gather(
            *[await producer.send(topic, value, key=key, headers=headers) for topic, key, value in records]
        )
    finally:
        await producer.stop()


def runs(prefix: str, count: int, steps: int = 4) -> list[Trajectory]:
    """Return trajectories of a test's own."""
    return [trajectory([step(f"{prefix}-{number}", index) for index in range(steps)]) for number in range(count)]


def sent(of: Trajectory) -> Sent:
    """Return a trajectory as the assembler publishes it."""
    return ("trajectories", of.trajectory_id.encode(), of.model_dump_json().encode())


def ids(of: Sequence[Trajectory]) -> set[tuple[str, str]]:
    """Return the ids of all steps."""
    return {(one.trajectory_id, each.event_id) for one in of for each in one.steps}


@asynccontextmanager
async def sinking(settings: SinkSettings) -> AsyncIterator[asyncio.Task[None]]:
    """Run a sink, and stop it in order."""
    stop = asyncio.Event()
    task = asyncio.create_task(drain(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def until(holds: Callable[[], bool], what: str, task: asyncio.Task[None] | None = None) -> None:
    """Wait until something holds; fail when it doesn't in time, or the sink has ended."""
    deadline = time.monotonic() + WAIT_S
    while not await asyncio.to_thread(holds):
        assert task is None or not task.done(), f"the sink ended: {task.exception()!r}"
        assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.1)


def count(store: Store, view: str) -> int:
    """Count what a view shows."""
    return int(store.client.query(f"SELECT count() FROM {view}").result_rows[0][0])


def start_process(settings: SinkSettings) -> child.Child:
    """Run a sink as a process of its own, which does not outlive this one."""
    own = {f"AGENTRACER_{name.upper()}": str(value) for name, value in settings if value is not None}
    code = "from streams.drain import run; from streams.sink_settings import SinkSettings; run(SinkSettings())"
    return child.start([sys.executable, "-c", code], tempfile.TemporaryFile(), environment=os.environ | own)
