"""One test's own view of the tracer's topics, on a broker that many tests share.

Its group starts at their end, its readers too, and its trajectory ids begin with a name of its own.
"""

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import IO, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from schemas import TOPICS, DeadLetter, TopicName, Verdict
from schemas.dead_letter import from_record
from tests.factories import step, trajectory
from tests.tracer.scripted import Scripted
from tracer.consume import consume
from tracer.settings import TracerSettings
from tracer.shadow import Candidate

SOURCE = TopicName.FAILED_TRAJECTORIES
READ = (TopicName.VERDICTS, TopicName.DEAD_LETTERS)
ROOT = Path(__file__).parents[2]
LARGE = 31_000_000


class Bench:
    def __init__(self, bootstrap: str, notes: Path) -> None:
        self.bootstrap = bootstrap
        self.notes = notes
        self.name = uuid.uuid4().hex[:8]
        self.verdicts: dict[str, list[tuple[int, Verdict]]] = {}
        """By trajectory id: each verdict with its partition, in the order of their offsets."""
        self.letters: list[DeadLetter] = []
        self.candidate: Candidate | None = None
        """What shadows the workers of this process."""
        self.log: IO[bytes] | None = None
        """Where workers in processes of their own write; None is where this one does."""
        self._stack = contextlib.AsyncExitStack()

    async def open(self) -> None:
        await create_topics(self.bootstrap)
        self.producer = await self._started(AIOKafkaProducer(bootstrap_servers=self.bootstrap, max_request_size=LARGE))
        self.group = await self._started(
            AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.name, enable_auto_commit=False)
        )
        self.partitions = await self._partitions(SOURCE)
        self.group.assign(self.partitions)
        await self.group.commit(await self.group.end_offsets(self.partitions))
        self._reader = await self._started(
            AIOKafkaConsumer(bootstrap_servers=self.bootstrap, max_partition_fetch_bytes=LARGE)
        )
        read = [partition for topic in READ for partition in await self._partitions(topic)]
        self._reader.assign(read)
        for partition, offset in (await self._reader.end_offsets(read)).items():
            self._reader.seek(partition, offset)

    async def close(self) -> None:
        await self._stack.aclose()

    def id(self, number: int) -> str:
        return f"{self.name}-{number}"

    def settings(self, **fields: Any) -> TracerSettings:
        defaults: dict[str, Any] = {"bootstrap": self.bootstrap, "tracer_group": self.name, "session_timeout_ms": 6_000}
        quick: dict[str, Any] = {"heartbeat_ms": 500, "poll_ms": 50, "trace_backoff_s": 0.05, "drain_timeout_s": 10}
        return TracerSettings(**defaults | quick | fields)

    async def send(self, tasks: Iterable[str], *, partition: int | None = None, **fields: Any) -> list[str]:
        """Send one trajectory per task, in turn to every partition or to one; return their ids."""
        first = getattr(self, "_sent", 0)
        ids = []
        for number, task in enumerate(tasks, first):
            at = self.partitions[number % len(self.partitions)].partition if partition is None else partition
            one = trajectory([step(self.id(number), index) for index in range(3)], task=task, **fields)
            await self.send_bytes(one.model_dump_json().encode(), key=one.trajectory_id.encode(), partition=at)
            ids.append(one.trajectory_id)
        self._sent = first + len(ids)
        return ids

    async def send_bytes(self, value: bytes | None, *, key: bytes | None = None, partition: int = 0) -> int:
        sent = await self.producer.send_and_wait(SOURCE.value, value, key=key, partition=partition)
        return int(sent.offset)

    async def read(self, count: int, *, timeout_s: float = 30.0, letters: int = 0) -> None:
        """Read on until so many of this test's trajectories have a verdict, and so many dead letters came."""
        async with asyncio.timeout(timeout_s):
            while len(self.verdicts) < count or len(self.letters) < letters:
                await self.read_once(timeout_ms=200)

    async def read_all(self) -> None:
        """Read whatever else is there."""
        while await self.read_once(timeout_ms=500):
            pass

    async def read_once(self, timeout_ms: int) -> int:
        found = await self._reader.getmany(timeout_ms=timeout_ms)
        records = [record for batch in found.values() for record in batch]
        for record in records:
            if record.topic == TopicName.VERDICTS:
                verdict = Verdict.model_validate_json(record.value)
                if verdict.trajectory_id.startswith(self.name):
                    self.verdicts.setdefault(verdict.trajectory_id, []).append((record.partition, verdict))
            elif (letter := from_record(record.key, record.value, record.headers)) and letter.key == self.key:
                self.letters.append(letter)
        return len(records)

    @property
    def key(self) -> bytes:
        """What the key of a bad record of this test is, so that its dead letter is known."""
        return self.name.encode()

    @contextlib.asynccontextmanager
    async def worker(self, **fields: Any) -> AsyncIterator[asyncio.Event]:
        """Run a worker in this process; leaving stops and awaits it."""
        stop, settings = asyncio.Event(), self.settings(**fields)
        task = asyncio.create_task(consume(settings, Scripted(self.notes), stop, shadow=self.candidate))
        try:
            yield stop
        finally:
            stop.set()
            await task

    async def process(self, module: str = "scripted", *arguments: str, **fields: Any) -> asyncio.subprocess.Process:
        """Start a worker in a process of its own: a module of this folder, with the notes and what else it is told."""
        settings = self.settings(**fields).model_dump(mode="json", exclude_defaults=True)
        named = {f"AGENTRACER_{name.upper()}": str(value) for name, value in settings.items()}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"tests.tracer.{module}",
            str(self.notes),
            *arguments,
            cwd=ROOT,
            env=os.environ | named,
            stderr=self.log,
        )

    async def _started(self, client: Any) -> Any:
        await client.start()
        self._stack.push_async_callback(client.stop)
        return client

    async def _partitions(self, topic: TopicName) -> list[TopicPartition]:
        numbers = await self.producer.partitions_for(topic.value)
        return [TopicPartition(topic.value, number) for number in sorted(numbers)]


async def create_topics(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for topic in (SOURCE, *READ):
            settings = TOPICS[topic].config()
            new = NewTopic(topic.value, TOPICS[topic].partitions or 4, 1, topic_configs=settings)
            with contextlib.suppress(TopicAlreadyExistsError):
                await admin.create_topics([new])
    finally:
        await admin.close()
