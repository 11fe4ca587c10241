"""Reads single records of `failed-trajectories` again by their offset, for work whose content was let go of.

Rules: a consumer without a group, which is connected when it is needed first; one record at a time; as long as the
broker is away it waits, and what the broker no longer has comes back without a value.
"""

import asyncio
import logging
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import TOPICS, TopicName

from .window import Record

log = logging.getLogger(__name__)
SOURCE = TopicName.FAILED_TRAJECTORIES
HEADROOM = 1_000_000
"""What a record's envelope may add to the largest value of its topic."""
AGAIN_S = 1.0
ANSWER_MS = 5_000


class RecordReader:
    """Reads what was read before; entered and left like a file."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self, record: Record) -> Record:
        """Return the record with its content."""
        while True:
            try:
                async with self._lock:
                    return await self._read(await self._connected(), record)
            except (KafkaError, OSError) as error:
                log.warning("reading again failed, trying again", extra={"error": type(error).__name__})
                await asyncio.sleep(AGAIN_S)

    async def _read(self, consumer: AIOKafkaConsumer, record: Record) -> Record:
        partition = TopicPartition(SOURCE.value, record.partition)
        consumer.assign([partition])
        first = (await consumer.beginning_offsets([partition]))[partition]
        if record.offset < first:
            return record
        consumer.seek(partition, record.offset)
        while True:
            found = await consumer.getmany(partition, timeout_ms=ANSWER_MS, max_records=1)
            for one in found.get(partition, []):
                if one.offset != record.offset:
                    return record
                return record._replace(key=one.key, value=one.value)

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                client_id="agentracer-tracer-reread",
                max_partition_fetch_bytes=TOPICS[SOURCE].max_bytes + HEADROOM,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                enable_auto_commit=False,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer
