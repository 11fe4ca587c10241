"""Reads single partitions without a group: the state on assignment, published trajectories when they are reopened.

Rules: to read the state to its end its owner first writes a mark, and what is read up to it is all there is, so no
broker's idea of an end is trusted; a state is read within the time for which the broker keeps what removes a key, or
read anew: whoever takes longer may have seen a record whose removal is gone by the time he comes to it; of a batch
that holds a wanted record no more is read than needed.
"""

import asyncio
import logging
from collections.abc import Iterable
from time import monotonic
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from schemas import TopicName

from .aside import aside
from .kafka import BATCH_BYTES, PartitionWriter, removals_kept_s
from .settings import StreamsSettings
from .state import END_KEY, Record

log = logging.getLogger("agentracer.streams")
NEAR = 20
"""Records that are read over rather than sought past: a seek fetches anew."""
PLACE_BYTES = 1_000
"""Of a place one batch is fetched, however large it is, and nothing behind it ahead of time."""


class PartitionReader:
    """Two group-less consumers on the loop aside, for whole states and for single places; one read at a time."""

    def __init__(self, settings: StreamsSettings) -> None:
        self._bootstrap = settings.bootstrap
        self._consumer: Any = None
        self._places_consumer: Any = None
        self._lock = asyncio.Lock()
        self.within_s = 0.0
        """So long a state may be read; set on connecting."""

    async def start(self) -> None:
        """Connect."""
        await aside(self._start())
        self.within_s = await removals_kept_s(self._bootstrap)

    async def stop(self) -> None:
        """Disconnect."""
        await aside(self._stop())

    async def beginning(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that the log of each partition still has."""
        return await aside(self._beginning([TopicPartition(topic, one) for one in partitions]))

    async def is_answered(self, within_s: float) -> bool:
        """Ask the broker something, and tell whether it answers."""
        try:
            async with asyncio.timeout(within_s):
                await self.beginning(TopicName.ASSEMBLER_STATE, [0])
        except (KafkaError, OSError):  # a timeout is the latter
            return False
        return True

    async def state(self, writer: PartitionWriter) -> list[Record]:
        """Read a partition's state to a mark that its writer sets now."""
        place = TopicPartition(TopicName.ASSEMBLER_STATE, writer.partition)
        while True:
            nonce = uuid4().bytes
            await writer.write_end(nonce)
            async with self._lock:
                records = await aside(self._state(place, nonce, monotonic() + self.within_s))
            if records is not None:
                return records
            log.warning("state is read again", extra={"partition": writer.partition})

    async def places(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, bytes | None]:
        """Read single records by their offsets; None where the log no longer has one."""
        wanted = sorted(set(offsets))
        if not wanted:
            return {}
        async with self._lock:
            return await aside(self._places(TopicPartition(topic, partition), wanted))

    # what follows runs aside

    async def _start(self) -> None:
        self._consumer = self._new_consumer(BATCH_BYTES)
        self._places_consumer = self._new_consumer(PLACE_BYTES)
        await self._consumer.start()
        await self._places_consumer.start()

    def _new_consumer(self, fetch_bytes: int) -> Any:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=fetch_bytes,
            check_crcs=False,
        )

    async def _stop(self) -> None:
        for consumer in (self._consumer, self._places_consumer):
            if consumer is not None:
                await consumer.stop()

    async def _beginning(self, places: list[TopicPartition]) -> dict[int, int]:
        found = await self._consumer.beginning_offsets(places)
        return {tp.partition: offset for tp, offset in found.items()}

    async def _state(self, tp: TopicPartition, nonce: bytes, until: float) -> list[Record] | None:
        """Return everything up to the mark; None where that took too long, or a successor's mark took its place."""
        records: list[Record] = []
        self._consumer.assign([tp])
        await self._consumer.seek_to_beginning(tp)
        while monotonic() < until:
            found = (await self._consumer.getmany(timeout_ms=500)).get(tp, ())
            for record in found:
                if record.key == END_KEY and record.value == nonce:
                    return records if monotonic() < until else None
                if record.key is not None and record.key != END_KEY:
                    records.append((record.key, record.value))
            if not found and await self._is_at_end(tp):
                return None
        return None

    async def _is_at_end(self, tp: TopicPartition) -> bool:
        end = self._consumer.highwater(tp)
        return end is not None and bool(await self._consumer.position(tp) >= end)

    async def _places(self, tp: TopicPartition, wanted: list[int]) -> dict[int, bytes | None]:
        found: dict[int, bytes | None] = dict.fromkeys(wanted)
        self._places_consumer.assign([tp])
        first = (await self._places_consumer.beginning_offsets([tp]))[tp]
        position = -NEAR
        for offset in wanted:
            if offset >= max(first, position):
                if offset >= position + NEAR:
                    self._places_consumer.seek(tp, offset)
                position = await self._read_to(tp, offset, found)
        return found

    async def _read_to(self, tp: TopicPartition, offset: int, found: dict[int, bytes | None]) -> int:
        """Take what is wanted on the way to an offset, or to what follows where it is gone; return what comes next."""
        for _ in range(60):
            records = (await self._places_consumer.getmany(tp, timeout_ms=500, max_records=NEAR)).get(tp, ())
            for record in records:
                if record.offset in found:
                    found[record.offset] = record.value
            if records and records[-1].offset >= offset:
                return int(records[-1].offset) + 1
        raise KafkaTimeoutError(f"nothing of {tp} could be read back in half a minute")
