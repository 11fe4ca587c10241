"""One producer a partition, whose transactions are the checkpoints.

Rules: starting a transactional producer aborts what its predecessor left open and fences it; a fenced or failed
producer is never replaced within an assignment, since the partition may have a new owner.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    ProducerFenced,
)
from aiokafka.structs import RecordMetadata

from schemas import TOPICS, TopicName
from schemas.dead_letter import to_headers
from schemas.errors import AgentracerError, BrokerUnavailableError, StateError, TopicError
from schemas.topics import MB

from .aside import aside
from .checkpoint import Checkpoint
from .relay import FORWARDED, time_header
from .settings import StreamsSettings
from .state import END_KEY, Record

T = TypeVar("T")
Outgoing = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""Key, value, headers."""
BATCH_BYTES = 4 * MB
"""Each batch of a partition waits for the one before: few large ones; what is read back is read by whole batches."""
COMPRESSION = "zstd"
"""On text a quarter of the time and two thirds of the bytes of aiokafka's lz4."""
MOST_BYTES = 33 * MB
TRANSACTION_TIMEOUT_MS = 60_000
_REMOVALS_KEPT = "delete.retention.ms"
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
    """Writes the checkpoints of one partition; its producer lives on the loop aside."""

    def __init__(self, settings: StreamsSettings, partition: int) -> None:
        self.partition = partition
        self._transactional = settings.transactions
        self._bootstrap = settings.bootstrap
        self._producer: Any = None

    async def start(self) -> None:
        """Connect, and fence whoever held the partition."""
        await aside(self._start())

    async def stop(self) -> None:
        """Disconnect; what is open is left for the successor to abort."""
        await aside(self._stop())

    async def write(self, checkpoint: Checkpoint) -> list[int]:
        """Write one checkpoint; return the offsets of its closed trajectories on `trajectories`.

        Raises FencedError when the partition has a new owner, in which case nothing was written.
        """
        return await aside(self._write(checkpoint))

    async def write_end(self, nonce: bytes) -> None:
        """Write the marker up to which the state is read."""
        await aside(self._write_end(nonce))

    # what follows runs aside

    async def _start(self) -> None:
        self._producer = self._new_producer()
        try:
            await self._producer.start()
        except (KafkaConnectionError, OSError) as error:
            raise no_broker(self._bootstrap) from error
        except KafkaError as error:
            raise BrokerUnavailableError(
                f"the broker {self._bootstrap!r} takes no transactional producer ({error!r}); if it knows no "
                "transactions, set AGENTRACER_TRANSACTIONS=false"
            ) from error

    def _new_producer(self) -> Any:
        kind: dict[str, Any] = {}
        if self._transactional:
            kind = {
                "transactional_id": f"assembler-{self.partition}",
                "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS,
            }
        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            compression_type=COMPRESSION,
            max_batch_size=BATCH_BYTES,
            max_request_size=MOST_BYTES,
            **kind,
        )

    async def _stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def _write(self, checkpoint: Checkpoint) -> list[int]:
        async with self._transaction():
            closed, failed = _trajectories(checkpoint)
            places, *_ = await _all(
                self._send(TopicName.TRAJECTORIES, self.partition, closed),
                self._send(TopicName.FAILED_TRAJECTORIES, self.partition, failed),
                self._send_state(checkpoint.state),
                *self._others(checkpoint),
            )
            await self._send_state(checkpoint.last(places))
        return places

    async def _send_state(self, records: Sequence[Record]) -> list[int]:
        return await self._send(TopicName.ASSEMBLER_STATE, self.partition, [(key, value, ()) for key, value in records])

    def _others(self, checkpoint: Checkpoint) -> Iterable[Coroutine[Any, Any, list[int]]]:
        outcomes: list[Outgoing] = [(key.encode(), raw, ()) for key, raw in checkpoint.outcomes]
        letters: list[Outgoing] = [(one.key, one.value, to_headers(one)) for one in checkpoint.dead_letters]
        reports: list[Outgoing] = [
            (one.kind.encode(), one.model_dump_json().encode(), ()) for one in checkpoint.reports
        ]
        yield self._send(TopicName.OUTCOMES, self.partition, outcomes)
        yield self._send(TopicName.DEAD_LETTERS, 0, letters)
        yield self._send(TopicName.PIPELINE_EVENTS, 0, reports)
        time = time_header(self.partition, checkpoint.source.watched_ms)
        header = [(FORWARDED, b"%d" % self.partition), time]
        for home in {forward.partition for forward in checkpoint.forwards}:
            events = [
                (one.trajectory_id.encode(), one.raw, header) for one in checkpoint.forwards if one.partition == home
            ]
            yield self._send(TopicName.STEP_EVENTS, home, events)
        for home in checkpoint.told:
            yield self._send(TopicName.STEP_EVENTS, home, [(None, b"", [time])])

    async def _write_end(self, nonce: bytes) -> None:
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
        except (ProducerFenced, InvalidProducerEpoch, IllegalOperation) as error:  # the last: another send was fenced
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
        placed = await _all(*(future for future, _ in sent))
        return [one.offset + place for one, (_, count) in zip(placed, sent, strict=True) for place in range(count)]


async def _all(*sends: Awaitable[T]) -> list[T]:
    """Wait for every one, also when another fails: nothing may still be on its way when the transaction ends."""
    found = await asyncio.gather(*sends, return_exceptions=True)
    failures = [one for one in found if isinstance(one, BaseException)]
    for one in sorted(failures, key=lambda one: isinstance(one, IllegalOperation)):  # what came of another's comes last
        raise one
    return cast("list[T]", found)


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


async def removals_kept_s(bootstrap: str) -> float:
    """Return for how many seconds the broker keeps a record of `assembler-state` that removes a key."""
    table = float(dict(TOPICS[TopicName.ASSEMBLER_STATE].extra)[_REMOVALS_KEPT])
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        asked = [ConfigResource(ConfigResourceType.TOPIC, TopicName.ASSEMBLER_STATE.value)]
        found = [one for answer in await admin.describe_configs(asked) for one in answer.resources]
        configs = {name: value for one in found for name, value, *_ in one[4]}
    except (KafkaConnectionError, OSError) as error:
        raise no_broker(bootstrap) from error
    finally:
        await admin.close()
    return float(configs.get(_REMOVALS_KEPT) or table) / 1000


def is_closed_transport(error: BaseException | None) -> bool:
    """Whether it is uvloop's word for a connection that was closed under its writer, which aiokafka lets pass."""
    return isinstance(error, RuntimeError) and "Transport closed" in str(error)


@contextmanager
def in_our_words(bootstrap: str) -> Iterator[None]:
    """Say in our words what the broker's client raises."""
    try:
        yield
    except KafkaError as error:
        raise stopped_by(error, bootstrap) from error
    except RuntimeError as error:
        if not is_closed_transport(error):
            raise
        raise stopped_by(error, bootstrap) from error


def stopped_by(reason: BaseException | None, bootstrap: str) -> AgentracerError:
    """Return the error for a stream that stopped by itself."""
    if isinstance(reason, KafkaError) or is_closed_transport(reason):
        return BrokerUnavailableError(
            f"the broker at {bootstrap!r} ended the work ({reason!r}); start the worker again when it is back: it "
            "goes on from its last checkpoint"
        )
    return AgentracerError("the stream stopped by itself; its log says why")


def no_broker(bootstrap: str) -> BrokerUnavailableError:
    """Return the error for a broker that does not answer."""
    return BrokerUnavailableError(f"no broker answers at {bootstrap!r}; start one, or set AGENTRACER_BOOTSTRAP")
