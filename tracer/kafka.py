"""The tracer's clients of Kafka: how they are made, start and leave, and what they know of the broker.

Rules: a broker, a topic or partitions that are missing are one clear error when the worker starts.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import TOPICS, TopicName
from schemas.errors import BrokerUnavailableError, TopicError
from schemas.health import silence

from .progress import Commit
from .settings import TracerSettings
from .trace import Clock

log = logging.getLogger(__name__)
SOURCE = TopicName.FAILED_TRAJECTORIES
HEADROOM = 1_000_000
"""What a record's envelope may add to the largest value of its topic."""
REBALANCE_TIMEOUT_MS = 30_000
RETRY_BACKOFF_MS = 500
"""How long the clients wait between tries while the broker is away; their default logs 100 lines a second."""
CLOSE_TIMEOUT_S = 10.0


async def committed_progress(
    consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, Commit]:
    """Return offset and metadata of each partition that has a commit.

    The consumer's public `committed` gives the offset alone, so this one function looks inside; a contract test
    holds it against the pinned aiokafka.
    """
    found = await consumer._coordinator.fetch_committed_offsets(list(partitions))  # noqa: SLF001  see above
    return {partition: Commit(one.offset, one.metadata or "") for partition, one in found.items() if one.offset >= 0}


def end_of(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return up to where there was something to read when the broker answered last."""
    if partition not in consumer.assignment():
        return None
    stable: int | None = consumer.last_stable_offset(partition)
    high: int | None = consumer.highwater(partition)
    return stable if stable is not None and stable >= 0 else high


def silence_of(consumer: AIOKafkaConsumer, clock: Clock) -> str | None:
    """Say for how long the broker has not answered, if it was asked and that is long."""
    asked = consumer.assignment() - consumer.paused()
    answers = [at for at in map(consumer.last_poll_timestamp, asked) if at is not None]
    return silence(clock.now().timestamp() - max(answers) / 1000) if answers else None


@contextlib.asynccontextmanager
async def clients(settings: TracerSettings) -> AsyncIterator[tuple[AIOKafkaConsumer, AIOKafkaProducer]]:
    """Have both, started; raises BrokerUnavailableError or TopicError."""
    consumer, producer = _consumer(settings), _producer(settings)
    try:
        await _start(settings, consumer, producer)
        yield consumer, producer
    finally:
        for client in (consumer, producer):
            await _stop(client)


async def _stop(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Leave; a broker that is gone is not waited for.

    How a client ends hides nothing that ended it: it may raise what its own tasks died of, their cancellation too.
    """
    leaving = asyncio.ensure_future(client.stop())
    await asyncio.wait({leaving}, timeout=CLOSE_TIMEOUT_S)
    if not leaving.cancel() and not leaving.cancelled() and (error := leaving.exception()) is not None:
        log.warning("client left badly", extra={"why": repr(error)})


def _consumer(settings: TracerSettings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        client_id="agentracer-tracer",
        group_id=settings.tracer_group,
        group_instance_id=settings.instance_id,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_ms,
        max_poll_interval_ms=settings.max_poll_interval_ms,
        retry_backoff_ms=RETRY_BACKOFF_MS,
        rebalance_timeout_ms=max(REBALANCE_TIMEOUT_MS, settings.session_timeout_ms),
        max_partition_fetch_bytes=TOPICS[SOURCE].max_bytes + HEADROOM,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )


def _producer(settings: TracerSettings) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap,
        client_id="agentracer-tracer",
        retry_backoff_ms=RETRY_BACKOFF_MS,
        acks="all",
        enable_idempotence=settings.transactions,
        max_request_size=TOPICS[TopicName.DEAD_LETTERS].max_bytes + HEADROOM,
    )


async def _start(settings: TracerSettings, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(settings.start_timeout_s):
            await consumer.start()
            topics = await consumer.topics()
    except (KafkaError, TimeoutError, OSError) as error:
        message = f"no broker answers at {settings.bootstrap!r}; start it or set AGENTRACER_BOOTSTRAP"
        raise BrokerUnavailableError(message) from error
    _refuse_missing(settings, {SOURCE, TopicName.VERDICTS, TopicName.DEAD_LETTERS} - topics)
    try:
        async with asyncio.timeout(settings.start_timeout_s):
            await producer.start()
            sources = await producer.partitions_for(SOURCE.value)
            verdicts = await producer.partitions_for(TopicName.VERDICTS.value)
    except (KafkaError, TimeoutError, OSError) as error:
        known = "if it knows no idempotent producers, set AGENTRACER_TRANSACTIONS=false"
        raise BrokerUnavailableError(f"the broker {settings.bootstrap!r} takes no producer; {known}") from error
    if not sources <= verdicts:
        raise TopicError(
            f"{TopicName.VERDICTS.value!r} has {len(verdicts)} partitions and {SOURCE.value!r} {len(sources)}; "
            "give it as many, see `agentracer topics apply`"
        )


def _refuse_missing(settings: TracerSettings, missing: set[TopicName]) -> None:
    if missing:
        names = ", ".join(repr(topic.value) for topic in sorted(missing))
        raise TopicError(f"the broker {settings.bootstrap!r} has no {names}; create them: `agentracer topics apply`")


def is_closed_transport(error: BaseException) -> bool:
    """Whether it is uvloop's word for a connection that was closed under its writer, which aiokafka lets pass."""
    return isinstance(error, RuntimeError) and "Transport closed" in str(error)
