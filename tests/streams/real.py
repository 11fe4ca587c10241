"""A real Kafka whose topics are made anew, worker processes on it, and records as no sender of ours writes them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from ops.client import apply_topics
from ops.pipeline import Worker
from ops.roles import Role
from schemas import DeadLetter, TopicName, Trajectory
from schemas.dead_letter import from_record
from schemas.errors import AgentracerError
from tests.ops.processes import soon

FAST = {
    "AGENTRACER_CHECKPOINT_MS": "200",
    "AGENTRACER_FETCH_WAIT_MS": "100",
    "AGENTRACER_SESSION_TIMEOUT_MS": "3000",
    "AGENTRACER_SINK_FLUSH_MS": "200",
    "AGENTRACER_LIMITS__GRACE_MS": "300",
}
Headers = Sequence[tuple[str, bytes | None]]


class Sent(NamedTuple):
    """One record to send."""

    value: bytes | None
    partition: int = 0
    key: bytes | None = None
    headers: Headers = ()


async def remake_topics(bootstrap: str, partitions: int) -> None:
    """Make every topic of ours anew."""
    async with _admin(bootstrap) as admin:
        ours = {name.value for name in TopicName}
        if existing := [name for name in await admin.list_topics() if name in ours]:
            await admin.delete_topics(existing)
        while ours & set(await admin.list_topics()):
            await asyncio.sleep(0.1)
    await _until_made(lambda: apply_topics(bootstrap, partitions=partitions, replicas=1))


async def remake_source(bootstrap: str, partitions: int) -> None:
    """Make `step-events` anew, with another number of partitions than its neighbours."""
    async with _admin(bootstrap) as admin:
        await admin.delete_topics([TopicName.STEP_EVENTS.value])

        async def create() -> None:
            answer = await admin.create_topics([NewTopic(TopicName.STEP_EVENTS.value, partitions, 1)])
            if answer.topic_errors[0][1]:
                raise KafkaError

        await _until_made(create)


async def _until_made(make: Callable[[], Any]) -> None:
    for _ in range(60):
        try:
            await make()
        except (AgentracerError, KafkaError):
            await asyncio.sleep(0.3)
        else:
            return
    raise AssertionError("the topics can't be made")


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def producing(bootstrap: str, **settings: Any) -> AsyncIterator[Any]:
    """Give a producer that sends what the broker takes, however large."""
    large = {"max_request_size": 10**9, "max_batch_size": 10**6, "request_timeout_ms": 120_000}
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", **large | settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(bootstrap: str, *records: Sent | bytes, topic: str = TopicName.STEP_EVENTS, **settings: Any) -> None:
    """Send records in their order, and wait for all of them."""
    async with producing(bootstrap, **settings) as producer:
        under_way = []
        for record in records:
            one = record if isinstance(record, Sent) else Sent(record)
            value = b"" if one.value is None and one.key is None else one.value
            under_way.append(
                await producer.send(topic, value, key=one.key, partition=one.partition, headers=[*one.headers] or None)
            )
        await asyncio.gather(*under_way)


async def read_topic(bootstrap: str, topic: str) -> list[Any]:
    """Read every committed record of a topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", max_partition_fetch_bytes=40_000_000
    )
    await consumer.start()
    try:
        await consumer._client._wait_on_metadata(topic)
        places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic) or ()]
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        found: list[Any] = []
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
    finally:
        await consumer.stop()
    return found


def letters(bootstrap: str) -> list[DeadLetter]:
    """Return every dead letter."""
    found = asyncio.run(read_topic(bootstrap, TopicName.DEAD_LETTERS))
    read = [from_record(one.key, one.value, one.headers) for one in found]
    assert None not in read
    return [one for one in read if one is not None]


def trajectories(bootstrap: str) -> list[Trajectory]:
    """Return every published revision."""
    found = asyncio.run(read_topic(bootstrap, TopicName.TRAJECTORIES))
    return [Trajectory.model_validate_json(one.value) for one in found]


class Process:
    """One worker as a process of its own, drained at the end."""

    def __init__(self, role: Role, bootstrap: str, **settings: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AGENTRACER_")}
        self._worker = Worker(role, inherited | FAST | {"AGENTRACER_BOOTSTRAP": bootstrap} | settings)

    @property
    def said(self) -> str:
        """What it has printed, in one line."""
        return " ".join(self._worker.log.read_text(errors="replace").split())

    @property
    def peak_mb(self) -> float:
        """The most memory it has had, in MB."""
        status = Path(f"/proc/{self._worker.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1000

    def until(self, happens: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait until something happens while it runs."""
        ended = self._worker.process.poll
        assert soon(lambda: ended() is not None or happens(), within_s), self.said
        assert ended() is None, f"it ended with {ended()}: {self.said}"

    def ends(self, code: int, within_s: float = 60.0) -> str:
        """Wait for it to end by itself; return what it said."""
        assert self._worker.process.wait(within_s) == code, self.said
        assert "Traceback" not in self.said
        return self.said

    def drain(self) -> None:
        """Ask it to end, and wait."""
        self._worker.drain()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drain()


def by_address(found: Iterable[DeadLetter]) -> Mapping[str, DeadLetter]:
    """Return letters by their address; none stands twice."""
    listed = list(found)
    by = {one.address: one for one in listed}
    assert len(by) == len(listed), "a dead letter was written twice"
    return by
