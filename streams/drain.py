"""The sink's loop: records of six topics go into ClickHouse, then their offsets are committed.

Rules: the loop that polls never waits for the store: one batch is written while the next is filled, and when that one
is full too the partitions pause, so the sink stays in its group and its memory has a bound however long ClickHouse is
away. Offsets are committed after the insert, and only if no rebalance came between; what a rebalance takes away is
dropped and read again by its new owner. A commit that fails is no loss: rows that are written again replace
themselves. What can't be read or stored is on `dead-letters` before the offset moves.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError, MessageSizeTooLargeError

from schemas import DeadLetter, PipelineEvent, PipelineEventKind, TopicName
from schemas.dead_letter import Headers, to_headers
from schemas.errors import BrokerUnavailableError, StateError, TopicError
from schemas.health import Health, Part
from schemas.metrics import UNMETERED, Metric, Metrics
from schemas.topics import MB

from .kafka import in_our_words
from .measure import end_of, silence_of
from .migrate import check_migrated
from .rows import Place, Row
from .signals import stop_on_signals
from .sink import Refused, Store, StoreAwayError, connect
from .sink_settings import SinkSettings
from .tables import DEAD_LETTERS, TABLES, Table
from .unpack import READ, STAGE, Batch, Source

log = logging.getLogger("agentracer.sink")

POLL_MS = 100
RECORDS_A_POLL = 500
"""Records read between two looks at the group: reading them takes a fraction of a second."""
PATIENCE_S = 1.0
MOST_BYTES = 33 * MB
CLOSE_S = 5.0
LONGEST_PAUSE_S = 5.0
LOOK_S = 1.0
"""How often lag and the broker's silence are looked at."""


def run(settings: SinkSettings, metrics: Metrics = UNMETERED, health: Health | None = None) -> None:
    """Run a sink until SIGTERM or SIGINT."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await drain(settings, stop, metrics, health)

    try:
        import uvloop  # noqa: PLC0415 - it is not there on every platform
    except ImportError:
        asyncio.run(until_signal())
    else:
        uvloop.run(until_signal())


async def drain(
    settings: SinkSettings, stop: asyncio.Event, metrics: Metrics = UNMETERED, health: Health | None = None
) -> None:
    """Move records into the store until `stop`, then write what has been read, commit and leave.

    Raises StoreUnavailableError, BrokerUnavailableError, TopicError or StateError when it can't begin, and StateError
    when a person has to look; the store or the broker going away later is waited for.
    """
    store = await asyncio.to_thread(connect, settings.clickhouse_url, within_s=settings.sink_start_s)
    try:
        await asyncio.to_thread(store.ask, partial(check_migrated, database=store.database))
        with in_our_words(settings.bootstrap):
            async with _clients(settings) as (consumer, producer):
                await _Sink(settings, store, consumer, producer, metrics, health or Health()).run(stop)
    finally:
        store.close()


class _Sink(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """One member of the sink's group."""

    def __init__(
        self,
        settings: SinkSettings,
        store: Store,
        consumer: Any,
        producer: Any,
        metrics: Metrics = UNMETERED,
        health: Health | None = None,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._metrics = metrics
        self._health = health or Health()
        self._looked_at = 0.0
        self._writer = _Writer(store, producer, metrics, self._health)
        self._filling = Batch()
        self._writing: asyncio.Task[None] | None = None
        self._writing_bytes = 0
        self._written_at = time.monotonic()
        self._assignment = 0
        """Counts rebalances: what was read under an earlier one is not committed under a later."""
        self._committed: dict[TopicPartition, int] = {}
        """Of every partition that has brought records in this assignment, the offset committed last."""
        self._new: set[TopicPartition] = set()
        """Partitions that were assigned and not looked at yet."""

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop`, or until something fails for good; then finish what was read."""
        self._consumer.subscribe(list(READ), listener=self)
        polling = asyncio.create_task(self._poll())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            polling.cancel()
            await asyncio.wait({polling})
            if not polling.cancelled():
                polling.result()
            await self._finish()
        finally:
            for task in (polling, stopping, self._writing):
                if task is not None:
                    task.cancel()
            self._writer.close()

    async def _poll(self) -> None:
        while True:
            self._health.beat()
            self._look()
            await self._reap()
            await self._begin_assignment()
            await self._hold_or_release()
            found = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_A_POLL)
            now = datetime.now(UTC)
            for tp, records in found.items():
                self._committed.setdefault(tp, records[0].offset)
                for record in records:
                    self._filling.add(_source(record), now)
            if self._writing is None and self._is_due():
                await self._begin_writing()

    def _look(self) -> None:
        """Tell how far behind the sink is, what it holds, and whether the broker answers."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        for tp, committed in self._committed.items():
            end = end_of(self._consumer, tp)
            if end is not None:
                self._metrics.set(Metric.SINK_LAG, max(0, end - committed), topic=tp.topic, partition=tp.partition)
        self._metrics.set(Metric.SINK_BATCH_BYTES, self._filling.byte_count + self._writing_bytes)
        self._health.ready(Part.BROKER, silence_of(self._consumer))

    async def _reap(self) -> None:
        """Take note of a batch that is written; raises what it failed of."""
        if self._writing is not None and self._writing.done():
            writing, self._writing, self._writing_bytes = self._writing, None, 0
            await writing

    async def _hold_or_release(self) -> None:
        """Pause all partitions while there is no room, those of a new assignment too.

        A pause throws away what was fetched ahead, so a batch that is just being written is waited for.
        """
        if self._is_full() and self._writing is not None:
            await asyncio.wait({self._writing}, timeout=PATIENCE_S)
            await self._reap()
        if self._is_full() and self._writing is not None:
            self._consumer.pause(*self._consumer.assignment())
        elif self._consumer.paused():
            await self._report_lost(await self._positions())  # the pause may have been long
            self._consumer.resume(*self._consumer.paused())

    def _is_full(self) -> bool:
        batch, settings = self._filling, self._settings
        return batch.row_count >= settings.sink_batch_rows or batch.byte_count >= settings.sink_batch_bytes

    def _is_due(self) -> bool:
        """Whether to write; a batch of nothing too, for it commits what lies between records, a transaction's end."""
        return self._is_full() or (time.monotonic() - self._written_at) * 1_000 >= self._settings.sink_flush_ms

    async def _begin_writing(self) -> None:
        assignment, offsets = self._assignment, await self._uncommitted()
        self._written_at = time.monotonic()
        if offsets or self._filling:
            batch, self._filling = self._filling, Batch()
            self._writing_bytes = batch.byte_count
            self._writing = asyncio.create_task(self._write(batch, offsets, assignment))

    async def _uncommitted(self) -> dict[TopicPartition, int]:
        """Return the positions up to which everything is in the batch, where they have moved."""
        positions = await self._positions()
        return {tp: position for tp, position in positions.items() if position != self._committed.get(tp)}

    async def _positions(self) -> dict[TopicPartition, int]:
        """Return the offset to be read next of every partition that has brought records in this assignment."""
        try:
            return {tp: await self._consumer.position(tp) for tp in list(self._committed)}
        except IllegalStateError:  # revoked just now
            return {}

    async def _write(self, batch: Batch, offsets: dict[TopicPartition, int], assignment: int) -> None:
        await self._writer.write(batch)
        if assignment != self._assignment:
            self._metrics.count(Metric.SINK_COMMITS_REFUSED)
            log.info("not committed: rebalanced meanwhile", extra={"rows": batch.row_count})
            return
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            self._metrics.count(Metric.SINK_COMMITS_REFUSED)
            log.warning("commit failed; the rows are read again", extra={"rows": batch.row_count, "error": repr(error)})
            return
        if assignment == self._assignment:
            self._committed |= offsets
        log.debug("stored", extra={"rows": batch.row_count, "bytes": batch.byte_count})

    async def _finish(self) -> None:
        """Write and commit what has been read, within the time there is."""
        try:
            async with asyncio.timeout(self._settings.sink_stop_s):
                if self._writing is not None:
                    await self._writing
                await self._begin_writing()
                if self._writing is not None:
                    await self._writing
        except TimeoutError:
            log.warning("left unwritten; the next sink reads it again", extra={"rows": self._filling.row_count})

    async def _begin_assignment(self) -> None:
        new, self._new = self._new & self._consumer.assignment(), set()
        if new:
            committed = {tp: await self._consumer.committed(tp) for tp in new}
            await self._report_lost({tp: offset for tp, offset in committed.items() if offset is not None})

    async def _report_lost(self, positions: dict[TopicPartition, int]) -> None:
        """Report what the broker has deleted before it was read."""
        try:
            firsts = await self._consumer.beginning_offsets(list(positions)) if positions else {}
        except KafkaError as error:
            log.warning("not looked for lost records", extra={"error": repr(error)})
            return
        for tp, first in firsts.items():
            if positions[tp] < first:
                await self._writer.report(tp, positions[tp], first)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Drop what was read of partitions that may have another owner from now on."""
        self._assignment += 1
        self._filling = Batch()
        for tp in self._committed:
            self._metrics.forget(Metric.SINK_LAG, topic=tp.topic, partition=tp.partition)
        self._committed.clear()
        self._health.ready(Part.PARTITIONS, "no partitions assigned")
        log.info("revoked", extra={"partitions": len(revoked)})

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Begin with the partitions that are ours now."""
        self._new = set(assigned)
        self._health.ready(Part.PARTITIONS)
        log.info("assigned", extra={"partitions": sorted(f"{tp.topic}/{tp.partition}" for tp in assigned)})


class _Writer:
    """Writes batches, however long the store or the broker are away."""

    def __init__(self, store: Store, producer: Any, metrics: Metrics, health: Health) -> None:
        self._store = store
        self._producer = producer
        self._metrics = metrics
        self._health = health
        metrics.set(Metric.SINK_STORE_AWAY, 0)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def write(self, batch: Batch) -> None:
        """Store every row; what is refused is on `dead-letters` when this is over."""
        token = uuid4().hex
        letters = list(batch.letters)
        for table in TABLES:
            refused = await self._insert(table, batch.rows[table.name], token)
            if table is DEAD_LETTERS:
                rows = [batch.without_bytes(row, message) for row, message in refused]
                await self._insert(table, rows, f"{token}-without-bytes")
            else:
                letters += [batch.refuse(table, row, message, datetime.now(UTC)) for row, message in refused]
        for letter in {letter.address: letter for letter in letters}.values():
            await self._send_letter(letter)

    async def _insert(self, table: Table, rows: list[Row], token: str) -> list[Refused]:
        if not rows:
            return []
        loop, since = asyncio.get_running_loop(), time.monotonic()
        for tries, pause in enumerate(_pauses()):
            began = time.monotonic()
            try:
                refused = await loop.run_in_executor(self._thread, self._store.insert, table, rows, token)
            except StoreAwayError as error:
                self._away()
                log.warning("store away", extra={"table": table.name, "tries": tries, "error": str(error)})
                await asyncio.sleep(pause)
            else:
                self._inserted(table, len(rows) - len(refused), time.monotonic() - began)
                if tries:
                    log.info("store back", extra={"table": table.name, "away_s": round(time.monotonic() - since, 1)})
                return refused
        raise AssertionError

    def _away(self) -> None:
        self._metrics.count(Metric.SINK_RETRIED)
        self._metrics.set(Metric.SINK_STORE_AWAY, 1)
        self._health.ready(Part.STORE, "the store is away")

    def _inserted(self, table: Table, rows: int, seconds: float) -> None:
        self._metrics.observe(Metric.SINK_INSERT_TIME, seconds, table=table.name)
        self._metrics.count(Metric.SINK_ROWS, rows, table=table.name)
        self._metrics.set(Metric.SINK_STORE_AWAY, 0)
        self._health.ready(Part.STORE)

    async def _send_letter(self, letter: DeadLetter) -> None:
        value = b"" if letter.key is None and letter.value is None else letter.value
        await self._send(TopicName.DEAD_LETTERS, letter.key, value, to_headers(letter))
        self._metrics.count(Metric.SINK_DEAD_LETTERS, reason=letter.reason)
        log.warning("dead letter", extra={"address": letter.address, "reason": letter.reason.value})

    async def report(self, tp: TopicPartition, position: int, first: int) -> None:
        """Report records that were deleted before they were read."""
        kind = PipelineEventKind.OFFSETS_LOST
        event = PipelineEvent(
            pipeline_event_id=f"{kind.value}-{STAGE}-{tp.topic}-{tp.partition}-{position}",
            kind=kind,
            topic=tp.topic,
            partition=tp.partition,
            count=first - position,
            detail={"stage": STAGE, "from_offset": position, "to_offset": first},
            at=datetime.now(UTC),
        )
        await self._send(TopicName.PIPELINE_EVENTS, kind.value.encode(), event.model_dump_json().encode(), [])
        log.error("records deleted before they were read", extra={"topic": tp.topic, "partition": tp.partition})

    async def _send(self, topic: TopicName, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        for pause in _pauses():
            try:
                await self._producer.send_and_wait(topic.value, value, key=key, headers=headers)
            except MessageSizeTooLargeError as error:
                raise StateError(
                    f"{topic.value!r} refuses {len(value or b'')} bytes; run `agentracer topics apply`"
                ) from error
            except KafkaError as error:
                log.warning("not sent", extra={"topic": topic.value, "error": repr(error)})
                await asyncio.sleep(pause)
            else:
                return

    def close(self) -> None:
        """Let the thread go, without waiting for a store that does not answer."""
        self._thread.shutdown(wait=False)


def _pauses() -> Iterator[float]:
    """Seconds between tries: longer and longer, and not all sinks at once."""
    pause = 0.25
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _source(record: Any) -> Source:
    place = Place(record.partition, record.offset, max(record.timestamp or 0, 0))
    return Source(record.topic, place, record.key, record.value, record.headers)


@asynccontextmanager
async def _clients(settings: SinkSettings) -> AsyncIterator[tuple[Any, Any]]:
    deadline = time.monotonic() + settings.sink_start_s
    consumer = await _started(lambda: _consumer(settings), settings.bootstrap, deadline)
    try:
        missing = sorted(set(READ) - await consumer.topics())
        if missing:
            raise TopicError(f"the topics {', '.join(missing)} are missing; create them with `agentracer topics apply`")
        producer = await _started(lambda: _producer(settings), settings.bootstrap, deadline)
        try:
            yield consumer, producer
        finally:
            await _stop(producer)
    finally:
        await _stop(consumer)


async def _started(build: Any, bootstrap: str, deadline: float) -> Any:
    while True:
        client = build()
        try:
            await client.start()
        except (KafkaError, OSError) as error:
            await _stop(client)
            if time.monotonic() > deadline:
                raise BrokerUnavailableError(_why_not(error, bootstrap)) from error
            await asyncio.sleep(0.3)
        else:
            return client


def _why_not(error: Exception, bootstrap: str) -> str:
    if isinstance(error, KafkaConnectionError | OSError):
        return f"no broker answers at {bootstrap!r}; start one, or set AGENTRACER_BOOTSTRAP"
    return (
        f"the broker {bootstrap!r} answers, and takes no client ({error!r}); if it knows no idempotent producers, set "
        "AGENTRACER_TRANSACTIONS=false"
    )


async def _stop(client: Any) -> None:
    """Leave; a broker that is gone is not waited for.

    How a client ends hides nothing that ended it: it may raise what its own tasks died of, their cancellation too.
    """
    leaving = asyncio.ensure_future(client.stop())
    await asyncio.wait({leaving}, timeout=CLOSE_S)
    if not leaving.cancel() and not leaving.cancelled() and (error := leaving.exception()) is not None:
        log.warning("client left badly", extra={"why": repr(error)})


def _consumer(settings: SinkSettings) -> Any:
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        group_id=settings.sink_group,
        group_instance_id=settings.instance_id,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 4,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=POLL_MS,
    )


def _producer(settings: SinkSettings) -> Any:
    return AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap,
        acks="all",
        enable_idempotence=settings.transactions,
        max_request_size=MOST_BYTES,
        compression_type="zstd",
    )
