"""What touches Faust's insides: one event per fetched batch, read-committed, positions from the state.

Faust's cost is per record, before an agent runs; here one of its events carries all that a fetch returned for a
partition. Contract tests (tests/streams/test_delivery.py) hold what is relied on, for the pinned versions.

Rules: a fetch and a change of positions exclude each other, so that what a fetch returned belongs to the epoch it
began in; batches of an epoch that has ended are dropped, those of the present one are numbered, so that none goes
missing unnoticed; at most `ROOM_BYTES` are delivered and not yet taken, and fetching waits meanwhile; offsets are
committed by the processor, after the effect, and Faust's own acknowledgements are not used; where the broker sets no
append times (the embedded one does not), the time of arrival stands for them.
"""

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic, time
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as compiled_records
from faust.serializers import codecs
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from schemas.topics import MB

from .assemble import UNOPENED, UNREADABLE, SourceRecord
from .expand import CODECS, OversizeError, bounded, room

log = logging.getLogger("agentracer.streams")
ROOM_BYTES = 32 * MB
OPENED_BYTES = 16 * MB
"""What a fetch brought is opened batch by batch, up to so much; the rest is fetched again."""
FETCH_S = 0.5
IDLE_S = 0.1
CODEC = "agentracer-batch"


class Batch(NamedTuple):
    """What one fetch returned of a partition."""

    partition: int
    epoch: int
    number: int
    """Counts the batches of a partition in its epoch."""
    records: list[SourceRecord]
    size: int


class Answer(NamedTuple):
    """The broker's last answer about a partition: when (any clock), and whether there was nothing left to read."""

    at: int
    is_empty: bool
    position: int
    end: int


class _AsItIs(codecs.Codec):
    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, obj: Any) -> Any:
        return obj


codecs.register(CODEC, _AsItIs())


def _as_source(_: Any) -> Any:
    """Mark a consumer by its key deserializer, which is never called: its records are SourceRecords."""
    raise AssertionError


for _module in (default_records, compiled_records):
    for _codec in CODECS:
        setattr(_module, f"{_codec}_decode", bounded(_codec, getattr(_module, f"{_codec}_decode")))


class _Unopened:
    """Stands for a batch that holds too much, as its own only record: at its last offset, so that it comes once."""

    key = None
    headers = UNOPENED
    is_control_batch = False

    def __init__(self, batch: Any) -> None:
        self.base_offset, self.next_offset = batch.base_offset, batch.next_offset
        self.producer_id, self.is_transactional = batch.producer_id, batch.is_transactional
        self.timestamp, self.timestamp_type = batch.max_timestamp, batch.timestamp_type
        self.offset = batch.next_offset - 1
        self.value = b"%d to %d" % (self.base_offset, self.offset)

    def __iter__(self) -> Any:
        yield self


class _Batches:
    """The batches of one fetch, each opened within a bound."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self._opened = 0
        self.current: Any = None

    def has_next(self) -> bool:
        return bool(self._opened < OPENED_BYTES and self._batches.has_next())

    def next_batch(self) -> Any:
        self.current = batch = self._batches.next_batch()
        with room() as used:
            try:
                iter(batch)  # which decompresses it
            except OversizeError:
                return _Unopened(batch)
        self._opened += used.used
        return batch


class _Records(fetcher.PartitionRecords):
    """What a fetch returned; aiokafka's own record costs a tenth of all we do, and is used for nothing here."""

    _records: Any
    _records_iterator: Any
    next_fetch_offset: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if self._key_deserializer is _as_source:
            self._records = _Batches(self._records)

    def __next__(self) -> Any:
        try:
            return next(self._records_iterator)
        except StopIteration:
            self._records_iterator = None
            raise
        except Exception:
            batch = getattr(self._records, "current", None)
            if batch is None:
                raise
            log.exception("records unreadable", extra={"offset": self.next_fetch_offset})
            return self._past(batch)

    def _past(self, batch: Any) -> SourceRecord:
        """Go on behind a batch of which a record raised; what stands for its rest is at its last offset."""
        first, last = self.next_fetch_offset, batch.next_offset - 1
        self.next_fetch_offset = batch.next_offset
        self._records_iterator = self._unpack_records()
        return SourceRecord(last, batch.max_timestamp, None, b"%d to %d" % (first, last), UNREADABLE)

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        if self._key_deserializer is not _as_source:
            return super()._consumer_record(tp, record)
        appended = record.timestamp if record.timestamp_type else round(time() * 1000)
        return SourceRecord(record.offset, appended, record.key, record.value, tuple(record.headers))


fetcher.PartitionRecords = _Records


class _Result(fetcher.FetchResult):
    """A fetch's result that lets its megabytes go when it is dropped half read, as after every seek.

    Records and their iterator hold each other, and what looks for such circles runs seldom here.
    """

    _partition_records: Any

    def check_assignment(self, tp: Any) -> bool:
        records = self._partition_records
        is_wanted = bool(super().check_assignment(tp))
        if not is_wanted and records is not None:
            records._records_iterator = None
        return is_wanted

    def __del__(self) -> None:
        if self._partition_records is not None:
            self._partition_records._records_iterator = None


fetcher.FetchResult = _Result


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._key_deserializer = _as_source
        consumer._fetch_max_wait_ms = self.app.fetch_wait_ms
        return consumer

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave out Faust's watch over acknowledgements, which are not used."""


class BatchConsumer(driver.Consumer):
    """Faust's consumer, delivering batches."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = 0
        self.undelivered: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._positions = asyncio.Lock()
        """Held while fetching, and while positions change."""
        self._bytes_out = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def _new_consumer_thread(self) -> Any:
        loop = type(asyncio.get_running_loop())()  # of the same make as ours: Faust would take the slow one
        thread = _Thread(self, loop=self.loop, beacon=self.beacon, thread_loop=loop)
        thread._close_thread_loop_on_stop = True
        return thread

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """End the epoch: nothing fetched before is delivered after."""
        self._next_epoch()
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Go on where the state says, rather than at the group's committed offsets."""
        self._next_epoch()
        async with self._positions:
            assigned = {tp.partition: tp for tp in self.assignment() if tp.topic == self.app.source_topic}
            starts = await self.app.positions(sorted(assigned), self.epoch)
            if starts:
                await self.seek_wait({assigned[partition]: offset for partition, offset in starts.items()})

    def _next_epoch(self) -> None:
        self.epoch += 1
        self._bytes_out = 0
        self.undelivered = {}
        self._numbers = {}
        self._has_room.set()

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._has_room.wait()
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)
                epoch, fetched = await self._fetch()
                for tp, found in fetched.items():
                    if epoch == self.epoch and found:
                        await self._deliver(tp, found, epoch)
                await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise

    async def _fetch(self) -> tuple[int, Mapping[TP, list[SourceRecord]]]:
        """Return what one fetch brings, and the epoch it belongs to."""
        async with self._positions:
            epoch, active = self.epoch, self._get_active_partitions()
            if active and self.flow_active:
                return epoch, await self._getmany(active, FETCH_S) or {}
        await asyncio.sleep(IDLE_S)
        return epoch, {}

    async def _deliver(self, tp: TP, records: list[SourceRecord], epoch: int) -> None:
        size = sum(map(_size, records))
        number = self._numbers.get(tp.partition, 0)
        self._numbers[tp.partition] = number + 1
        batch = Batch(tp.partition, epoch, number, records, size)
        message = ConsumerMessage(
            tp.topic, tp.partition, records[-1].offset, monotonic(), 0, (), None, batch, None, tp=tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip
        self.undelivered[tp.partition] = self.undelivered.get(tp.partition, 0) + 1
        self._bytes_out += size
        if self._bytes_out > ROOM_BYTES:
            self._has_room.clear()
        await self.wait_first(self.callback(message), self.suspend_flow.wait())

    def taken(self, batch: Batch) -> None:
        """Give back the room of a batch that the processor has folded."""
        if batch.epoch != self.epoch:
            return
        self.undelivered[batch.partition] -= 1
        self._bytes_out -= batch.size
        if self._bytes_out <= ROOM_BYTES:
            self._has_room.set()

    def answer(self, partition: int) -> Answer | None:
        """Return the broker's last answer about an assigned partition."""
        subscription = self._thread._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        tp = driver._TopicPartition(self.app.source_topic, partition)
        if assignment is None or tp not in assignment.tps:
            return None
        state = assignment.state_value(tp)
        end = state.highwater  # also while a sender's open transaction keeps back what is acknowledged behind it
        if state.timestamp is None or end is None or not state.has_valid_position:
            return None
        is_empty = state.position >= end and not self.undelivered.get(partition)
        return Answer(state.timestamp, is_empty, state.position, end)

    async def commit_to(self, offsets: Mapping[int, int]) -> None:
        """Commit the group's offsets; they serve lag displays only."""
        await self._commit({TP(self.app.source_topic, partition): at for partition, at in offsets.items()})


def _size(record: SourceRecord) -> int:
    size = len(record.value or b"") + len(record.key or b"")
    return size + sum(64 + len(name) + len(value or b"") for name, value in record.headers) if record.headers else size


class BatchTransport(driver.Transport):
    """Faust's transport with a consumer that delivers batches."""

    Consumer = BatchConsumer
