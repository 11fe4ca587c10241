"""The assembler's own Kafka clients: one producer a partition, whose transactions are the checkpoints, and a reader.

Rules: starting a transactional producer aborts what its predecessor left open and fences it; a fenced or failed
producer is never replaced within an assignment, since the partition may have a new owner; to read a topic to its
end the reader first writes a marker and reads up to it, so it trusts no broker's idea of an end.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
)
from aiokafka.structs import RecordMetadata

from schemas import TopicName
from schemas.dead_letter import to_headers
from schemas.errors import BrokerUnavailableError, StateError, TopicError
from schemas.topics import MB

from .assemble import FORWARDED
from .checkpoint import Checkpoint
from .settings import StreamsSettings
from .state import END_KEY, Record

Outgoing = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""Key, value, headers."""
BATCH_BYTES = MB
MOST_BYTES = 33 * MB
TRANSACTION_TIMEOUT_MS = 60_000
NEEDED = (
    TopicName.STEP_EVENTS,
    TopicName.ASSEMBLER_STATE,
    TopicName.TRAJECTORIES,
    TopicName.FAILED_TRAJECTORIES,
    TopicName.OUTCOMES,
    TopicName.DEAD_LETTERS,
    TopicName.PIPELINE_EVENTS,
)


class FencedError(StateError):
    """Another worker has taken over this partition."""


class PartitionWriter:
    """Writes the checkpoints of one partition."""

    def __init__(self, settings: StreamsSettings, partition: int) -> None:
        self.partition = partition
        self._transactional = settings.transactions
        self._bootstrap = settings.bootstrap
        kind: dict[str, Any] = {}
        if self._transactional:
            kind = {
                "transactional_id": f"assembler-{partition}",
                "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS,
            }
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            acks="all",
            compression_type="lz4",
            max_batch_size=BATCH_BYTES,
            max_request_size=MOST_BYTES,
            **kind,
        )

    async def start(self) -> None:
        """Connect, and fence whoever held the partition."""
        try:
            await self._producer.start()
        except (KafkaConnectionError, OSError) as error:
            raise no_broker(self._bootstrap) from error

    async def stop(self) -> None:
        """Disconnect; what is open is left for the successor to abort."""
        await self._producer.stop()

    async def write(self, checkpoint: Checkpoint) -> list[int]:
        """Write one checkpoint; return the offsets of its closed trajectories on `trajectories`.

        Raises FencedError when the partition has a new owner, in which case nothing was written.
        """
        async with self._transaction():
            closed, failed = _trajectories(checkpoint)
            places = await self._send(TopicName.TRAJECTORIES, self.partition, closed)
            await asyncio.gather(
                self._send(TopicName.FAILED_TRAJECTORIES, self.partition, failed), *self._others(checkpoint)
            )
            state = [(key, value, ()) for key, value in checkpoint.records(places)]
            await self._send(TopicName.ASSEMBLER_STATE, self.partition, state)
        return places

    def _others(self, checkpoint: Checkpoint) -> Iterable[Any]:
        outcomes: list[Outgoing] = [(key.encode(), raw, ()) for key, raw in checkpoint.outcomes]
        letters: list[Outgoing] = [(one.key, one.value, to_headers(one)) for one in checkpoint.dead_letters]
        reports: list[Outgoing] = [
            (one.kind.encode(), one.model_dump_json().encode(), ()) for one in checkpoint.reports
        ]
        yield self._send(TopicName.OUTCOMES, self.partition, outcomes)
        yield self._send(TopicName.DEAD_LETTERS, 0, letters)
        yield self._send(TopicName.PIPELINE_EVENTS, 0, reports)
        header = [(FORWARDED, b"%d" % self.partition)]
        for home in {forward.partition for forward in checkpoint.forwards}:
            events = [
                (one.trajectory_id.encode(), one.raw, header) for one in checkpoint.forwards if one.partition == home
            ]
            yield self._send(TopicName.STEP_EVENTS, home, events)

    async def write_end(self, nonce: bytes) -> None:
        """Write the marker up to which the state is read."""
        async with self._transaction():
            await self._send(TopicName.ASSEMBLER_STATE, self.partition, [(END_KEY, nonce, ())])

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """Write what is sent inside, all or nothing; the broker's errors are said in our words."""
        try:
            if self._transactional:
                async with self._producer.transaction():
                    yield
            else:
                yield
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise FencedError(f"partition {self.partition} was taken over by another worker") from error
        except KafkaError as error:
            raise BrokerUnavailableError(
                f"the broker at {self._bootstrap!r} took nothing more for partition {self.partition} ({error!r}); "
                "start the worker again when it is back: it goes on from its last checkpoint"
            ) from error

    async def _send(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        """Send records in as few batches as they need; return their offsets, in order."""
        sent: list[tuple[asyncio.Future[RecordMetadata], int]] = []
        at = 0
        while at < len(records):
            batch = self._producer.create_batch()
            start = at
            while at < len(records):
                key, value, headers = records[at]
                if value is None and key is None:
                    value = b""
                if batch.append(key=key, value=value, headers=list(headers), timestamp=None) is None:
                    break
                at += 1
            if at == start:
                raise StateError(f"a record of {len(records[at][1] or b'')} bytes does not fit {topic!r}")
            batch.close()
            sent.append((await self._producer.send_batch(batch, topic, partition=partition), at - start))
        placed = await asyncio.gather(*(future for future, _ in sent))
        return [one.offset + place for one, (_, count) in zip(placed, sent, strict=True) for place in range(count)]


def _trajectories(checkpoint: Checkpoint) -> tuple[list[Outgoing], list[Outgoing]]:
    """Return the closed trajectories, and those of them that are traced; the same bytes are on both topics."""
    closed: list[Outgoing] = []
    failed: list[Outgoing] = []
    for one, routing in checkpoint.closed:
        value = one.value(None if routing is None else routing.model_dump(mode="json"))
        closed.append((one.trajectory_id.encode(), value, ()))
        if routing is not None:
            failed.append(closed[-1])
    return closed, failed


class PartitionReader:
    """Reads single partitions without a group: the state on assignment, places of closed trajectories later."""

    def __init__(self, settings: StreamsSettings) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=MOST_BYTES,
            fetch_max_bytes=2 * MOST_BYTES,
            check_crcs=False,
        )
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def beginning(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that the log of each partition still has."""
        found = await self._consumer.beginning_offsets([TopicPartition(topic, one) for one in partitions])
        return {tp.partition: offset for tp, offset in found.items()}

    async def state(self, writer: PartitionWriter) -> list[Record]:
        """Read a partition's state to a marker that its writer sets now."""
        nonce = uuid4().bytes
        await writer.write_end(nonce)
        tp = TopicPartition(TopicName.ASSEMBLER_STATE, writer.partition)
        records: list[Record] = []
        async with self._lock:
            self._consumer.assign([tp])
            await self._consumer.seek_to_beginning(tp)
            while True:
                for found in (await self._consumer.getmany(timeout_ms=500)).values():
                    for record in found:
                        if record.key == END_KEY and record.value == nonce:
                            return records
                        if record.key is not None and record.key != END_KEY:
                            records.append((record.key, record.value))

    async def places(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, bytes | None]:
        """Read single records by their offsets; None where the log no longer has one."""
        wanted = sorted(set(offsets))
        found: dict[int, bytes | None] = dict.fromkeys(wanted)
        if not wanted:
            return found
        tp = TopicPartition(topic, partition)
        async with self._lock:
            self._consumer.assign([tp])
            first = (await self._consumer.beginning_offsets([tp]))[tp]
            for offset in wanted:
                if offset >= first and found[offset] is None:
                    self._consumer.seek(tp, offset)
                    await self._read_from(tp, found)
        return found

    async def _read_from(self, tp: TopicPartition, found: dict[int, bytes | None]) -> None:
        """Take what is wanted of one answer; it starts at the offset that was sought, or after it if that is gone."""
        for _ in range(60):
            records = (await self._consumer.getmany(tp, timeout_ms=500)).get(tp, ())
            for record in records:
                if record.offset in found:
                    found[record.offset] = record.value
            if records:
                return
        raise KafkaTimeoutError(f"nothing of {tp} could be read back in half a minute")


async def partition_count(settings: StreamsSettings) -> int:
    """Return how many partitions `step-events` has; raises TopicError when it, or its state, is missing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    try:
        await admin.start()
    except (KafkaConnectionError, OSError) as error:
        raise no_broker(settings.bootstrap) from error
    try:
        existing = {topic["topic"]: topic for topic in await admin.describe_topics()}
    finally:
        await admin.close()
    missing = sorted({one.value for one in NEEDED} - existing.keys())
    if missing:
        raise TopicError(f"the topics {', '.join(missing)} are missing; create them with `agentracer topics apply`")
    return len(existing[TopicName.STEP_EVENTS]["partitions"])


def no_broker(bootstrap: str) -> BrokerUnavailableError:
    """Return the error for a broker that does not answer."""
    return BrokerUnavailableError(f"no broker answers at {bootstrap!r}; start one, or set AGENTRACER_BOOTSTRAP")
