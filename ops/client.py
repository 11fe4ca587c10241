"""Kafka for the command line: publish events, keep the topics as the table has them, read and resend dead letters.

Rules: an event enters the ledger only when the broker acknowledged it; what the broker will not take is in the
ledger as refused; a broker that doesn't answer for ten seconds at the start, or stops acknowledging for a minute, is
a BrokerUnavailableError; a topic is never created by the way, and its settings change only where they differ.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, MessageSizeTooLargeError, UnknownError, for_code

from ops.send import RECORD_BYTES, Ledger, Outgoing, Record, records
from ops.topic_changes import Change, FoundTopic, Problem, differing, missing, problems, refuse_other_partitions
from schemas import TOPICS, DeadLetter, PipelineEvent, Topic, TopicName, Verdict
from schemas.dead_letter import CONTENT_TYPE, REDRIVEN, from_record
from schemas.errors import BrokerUnavailableError, SettingsError, TopicError
from schemas.wire import NDJSON

START_S = 10.0
ACKNOWLEDGE_S = 60.0
_CLOSE_S = 5.0
_RETRY_S = 0.5
_PROGRESS_S = 0.1
_PACE_S = 0.002
"""Sleeps shorter than this are saved up."""
_BATCH_BYTES = 262_144
_BATCH_OVERHEAD = 1_000
_KEY_BYTES = 1_500
"""Room for the longest trajectory id and the header of a record of several events."""
_SET_ON_THE_TOPIC = 1
"""Kafka's `config_source` of a setting that was made on the topic itself."""
_TOPIC_EXISTS = 36


class Tail(NamedTuple):
    """The end of a partition's log: keys and values, oldest first, and whether that is all there is."""

    records: list[tuple[bytes | None, bytes | None]]
    is_whole: bool


async def publish(
    bootstrap: str,
    outgoing: Iterable[Outgoing],
    *,
    rate: float | None = None,
    ndjson: int = 1,
    idempotent: bool = True,
    on_progress: Callable[[int], None] = lambda _: None,
    ledger: Ledger | None = None,
) -> Ledger:
    """Send events to `step-events`, `rate` a second and `ndjson` a record, and return what was acknowledged.

    `on_progress` gets the number of acknowledged events, about ten times a second. Whoever may cancel this gives
    the ledger; what is under way then is still waited for, some seconds.
    """
    if rate is not None and not rate > 0:
        raise SettingsError(f"a rate of {rate!r} events a second sends nothing; give one above 0, or none")
    ledger = Ledger() if ledger is None else ledger
    most_bytes = await _most_bytes(bootstrap, TopicName.STEP_EVENTS)
    async with _open(lambda: _producer(bootstrap, most_bytes, idempotent=idempotent), bootstrap) as producer:
        publisher = _Publisher(producer, bootstrap, ledger, on_progress)
        start, sent = time.monotonic(), 0
        for record in records(outgoing, ndjson, min(RECORD_BYTES, most_bytes - _KEY_BYTES)):
            if rate is not None and (ahead := start + sent / rate - time.monotonic()) > _PACE_S:
                await asyncio.sleep(ahead)
            await publisher.send(record)
            sent += len(record.events)
        await publisher.settle()
    return ledger


class _Publisher:
    """One producer and the ledger of what it got acknowledged."""

    def __init__(self, producer: Any, bootstrap: str, ledger: Ledger, on_progress: Callable[[int], None]) -> None:
        self._producer = producer
        self._bootstrap = bootstrap
        self._ledger = ledger
        self._on_progress = on_progress
        self._told_at = 0.0
        self._under_way = 0
        self._settled = asyncio.Event()
        self._failure: BaseException | None = None

    async def send(self, record: Record) -> None:
        """Hand a record to the producer; waits while its buffer for that partition is full."""
        self._raise_failure()
        try:
            acknowledged = await self._producer.send(
                TopicName.STEP_EVENTS, record.value, key=record.key, headers=record.headers
            )
        except MessageSizeTooLargeError as error:
            self._ledger.refuse(record, f"{len(record.value)} bytes are more than the topic takes: {error}")
            return
        except KafkaError as error:
            self._failure = error
            self._raise_failure()
        self._under_way += 1
        acknowledged.add_done_callback(partial(self._enter, record))

    async def settle(self) -> None:
        """Wait until all that was sent is acknowledged or refused."""
        while self._under_way and not self._failure:
            before = self._under_way
            self._settled.clear()
            try:
                await asyncio.wait_for(self._settled.wait(), ACKNOWLEDGE_S)
            except TimeoutError as error:
                if self._under_way == before:
                    self._failure = error
        self._raise_failure()
        self._on_progress(self._ledger.acknowledged)

    def _enter(self, record: Record, acknowledged: asyncio.Future[Any]) -> None:
        self._under_way -= 1
        error = None if acknowledged.cancelled() else acknowledged.exception()
        if isinstance(error, MessageSizeTooLargeError):
            self._ledger.refuse(record, f"the broker refused {len(record.value)} bytes: {error}")
        elif error is not None:
            self._failure = self._failure or error
        elif not acknowledged.cancelled():
            place = acknowledged.result()
            self._ledger.accept(record, place.topic, place.partition, place.offset)
        if not self._under_way or self._failure:
            self._settled.set()
        if (now := time.monotonic()) - self._told_at > _PROGRESS_S:
            self._told_at = now
            self._on_progress(self._ledger.acknowledged)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise BrokerUnavailableError(
                f"the broker at {self._bootstrap!r} stopped taking events after {self._ledger.acknowledged!r} were "
                f"acknowledged ({self._failure!r}); send the same events again when it is back: duplicates count once"
            ) from self._failure


@asynccontextmanager
async def _open(build: Callable[[], Any], bootstrap: str) -> AsyncIterator[Any]:
    client = await _started(build, bootstrap)
    try:
        yield client
    except (KafkaError, TimeoutError) as error:
        raise BrokerUnavailableError(
            f"the broker at {bootstrap!r} stopped answering ({error!r}); try again when it is back"
        ) from error
    finally:
        await _close(client)


async def _started(build: Callable[[], Any], bootstrap: str) -> Any:
    deadline = time.monotonic() + START_S
    while True:
        client = build()
        try:
            await asyncio.wait_for(client.start(), max(0.1, deadline - time.monotonic()))
        except (IncompatibleBrokerVersion, UnknownError) as error:
            await _close(client)
            raise SettingsError(
                f"the broker at {bootstrap!r} can't do what was asked of it ({error!r}); if it is the embedded one, "
                "publish without idempotence"
            ) from error
        except (KafkaError, OSError, TimeoutError) as error:
            await _close(client)
            if time.monotonic() + _RETRY_S > deadline:
                raise BrokerUnavailableError(
                    f"no Kafka broker answers at {bootstrap!r} within {START_S:.0f} s; start one, or give its address"
                ) from error
        else:
            return client
        await asyncio.sleep(_RETRY_S)


async def _close(client: Any) -> None:
    """Close a client; a producer that can't get rid of what it holds is left after some seconds."""
    close = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    try:
        await asyncio.wait_for(close(), _CLOSE_S)
    except TimeoutError:
        if isinstance(client, AIOKafkaProducer):
            await client.client.close()


def _admin(bootstrap: str) -> Any:
    return AIOKafkaAdminClient(bootstrap_servers=bootstrap)


def _producer(bootstrap: str, most_bytes: int, *, idempotent: bool) -> Any:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=idempotent,
        compression_type="zstd",
        linger_ms=5,
        max_batch_size=min(_BATCH_BYTES, most_bytes),
        max_request_size=most_bytes,
    )


async def describe(bootstrap: str) -> dict[TopicName, FoundTopic]:
    """Return those topics of the table that the broker has."""
    async with _open(lambda: _admin(bootstrap), bootstrap) as admin:
        return await _found(admin)


async def apply_topics(bootstrap: str, *, partitions: int, replicas: int) -> list[Change]:
    """Create the topics that are missing and set what differs from the table; a second time it changes nothing.

    Raises TopicError, before anything is changed, if a topic of the assembler has another number of partitions.
    """
    async with _open(lambda: _admin(bootstrap), bootstrap) as admin:
        found = await _found(admin)
        refuse_other_partitions(found, partitions)
        absent = [topic for name, topic in TOPICS.items() if name not in found]
        changes = [await _create(admin, topic, partitions, replicas) for topic in absent]
        for name, topic in found.items():
            if settings := differing(name, topic):
                changes.append(await _alter(admin, name, topic, settings))
        await _until_there(admin, bootstrap)
    return changes


async def check_topics(bootstrap: str) -> list[Problem]:
    """Return how the broker's topics differ from the table."""
    return list(problems(await describe(bootstrap)))


async def _found(admin: Any) -> dict[TopicName, FoundTopic]:
    described = await admin.describe_topics()
    places = {one["topic"]: one["partitions"] for one in described if one["topic"] in TOPICS}
    if not places:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, str(name)) for name in places]
    configs = {one[3]: one[4] for answer in await admin.describe_configs(resources) for one in answer.resources}
    return {
        TopicName(name): FoundTopic(
            partitions=len(partitions),
            replicas=min(len(partition["replicas"]) for partition in partitions),
            config={entry[0]: entry[1] for entry in configs.get(name, [])},
            own={entry[0]: entry[1] for entry in configs.get(name, []) if entry[3] == _SET_ON_THE_TOPIC},
        )
        for name, partitions in places.items()
    }


async def _create(admin: Any, topic: Topic, partitions: int, replicas: int) -> Change:
    count, config = topic.partitions or partitions, topic.config(replicas)
    answer = await admin.create_topics([NewTopic(topic.name.value, count, replicas, topic_configs=config)])
    _, code, message = answer.topic_errors[0]
    if code not in (0, _TOPIC_EXISTS):
        raise TopicError(f"topic {topic.name.value!r} can't be created with {replicas!r} replicas: {message}")
    return Change(topic.name, "created", f"{count} partitions, {replicas} replicas")


async def _alter(admin: Any, name: TopicName, topic: FoundTopic, settings: dict[str, str]) -> Change:
    """Alter settings. Kafka's request sets all that were ever made, so those that stay are sent along."""
    detail = ", ".join(f"{key}={value} (was {topic.config.get(key)})" for key, value in settings.items())
    resource = ConfigResource(ConfigResourceType.TOPIC, name.value, topic.own | settings)
    try:
        answers = await admin.alter_configs([resource])
    except IncompatibleBrokerVersion:
        return Change(name, "skipped", f"this broker can't change {detail}")
    code, message = answers[0].resources[0][:2]
    if code:
        raise TopicError(f"topic {name.value!r} can't be given {detail}: {for_code(code).__name__} {message or ''}")
    return Change(name, "altered", detail)


async def _until_there(admin: Any, bootstrap: str) -> None:
    """Wait until a created topic has a leader for every partition, as far as the broker tells its clients."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        described = {one["topic"]: one["partitions"] for one in await admin.describe_topics()}
        if all(name in described and all(one["leader"] >= 0 for one in described[name]) for name in TOPICS):
            return
        await asyncio.sleep(0.05)
    raise BrokerUnavailableError(f"the topics at {bootstrap!r} have no leader after {START_S:.0f} s; look at its log")


async def _existing(bootstrap: str, topic: str) -> FoundTopic:
    found = await describe(bootstrap)
    if topic not in found:
        raise TopicError(f"at {bootstrap!r} {missing(topic)}")
    return found[TopicName(topic)]


async def _most_bytes(bootstrap: str, topic: str) -> int:
    """Return how large a record of an existing topic may be, what the broker counts around it left out."""
    found = await _existing(bootstrap, topic)
    return int(found.config.get("max.message.bytes", TOPICS[TopicName(topic)].max_bytes)) - _BATCH_OVERHEAD


async def read_dead_letters(bootstrap: str) -> AsyncIterator[DeadLetter]:
    """Read all of `dead-letters`, oldest first, up to what was there at the start; foreign records are left out."""
    topic = await _existing(bootstrap, TopicName.DEAD_LETTERS)
    places = [TopicPartition(TopicName.DEAD_LETTERS.value, number) for number in range(topic.partitions)]
    async with _open(lambda: _consumer(bootstrap), bootstrap) as consumer:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        async for fetched in _fetched(consumer, ends, bootstrap):
            letter = from_record(fetched.key, fetched.value, fetched.headers)
            if letter is not None:
                yield letter


def _consumer(bootstrap: str) -> Any:
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=TOPICS[TopicName.DEAD_LETTERS].max_bytes,
    )


async def _fetched(consumer: Any, ends: dict[Any, int], bootstrap: str) -> AsyncIterator[Any]:
    """Read up to the ends, and on until a poll brings nothing: an embedded broker names too low an end."""
    heard = time.monotonic()
    while True:
        answer = await consumer.getmany(timeout_ms=500)
        for fetched in answer.values():
            for record in fetched:
                yield record
        if answer:
            heard = time.monotonic()
        elif all([await consumer.position(place) >= end for place, end in ends.items()]):
            return
        elif time.monotonic() - heard > START_S:
            raise BrokerUnavailableError(f"the broker at {bootstrap!r} stopped answering; read again when it is back")


def administering(bootstrap: str) -> AbstractAsyncContextManager[Any]:
    """Give a client that makes, describes and deletes topics, for an `async with` block."""
    return _open(lambda: _admin(bootstrap), bootstrap)


def transacting(bootstrap: str, transactional_id: str) -> AbstractAsyncContextManager[Any]:
    """Give a transactional producer, for an `async with` block; raises SettingsError where the broker knows none."""
    return _open(lambda: AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id), bootstrap)


async def first_offsets(bootstrap: str, topic: str, partitions: int) -> dict[int, int]:
    """Return the first offset that the log of each partition still has."""
    async with _open(lambda: _consumer(bootstrap), bootstrap) as consumer:
        found = await consumer.beginning_offsets([TopicPartition(topic, number) for number in range(partitions)])
        return {place.partition: offset for place, offset in found.items()}


async def read_tails(bootstrap: str, topic: str, partitions: Iterable[int], offsets: int) -> dict[int, Tail]:
    """Read what stands at the last so many offsets of some partitions."""
    places = [TopicPartition(topic, number) for number in partitions]
    async with _open(lambda: _consumer(bootstrap), bootstrap) as consumer:
        consumer.assign(places)
        firsts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        tails = {place.partition: Tail([], is_whole=ends[place] - offsets <= firsts[place]) for place in places}
        for place in places:
            consumer.seek(place, max(firsts[place], ends[place] - offsets))
        async for found in _fetched(consumer, ends, bootstrap):
            tails[found.partition].records.append((found.key, found.value))
        return tails


def new_topic(name: str, brokers: list[int], config: dict[str, str]) -> Any:
    """Describe a topic to be made, with one partition, of one replica, on each of these brokers."""
    places = {number: [broker] for number, broker in enumerate(brokers)}
    return NewTopic(name, -1, -1, replica_assignments=places, topic_configs=config)


async def report(bootstrap: str, event: PipelineEvent) -> None:
    """Write one report to `pipeline-events`."""
    async with _open(lambda: _producer(bootstrap, _BATCH_BYTES, idempotent=False), bootstrap) as producer:
        await producer.send_and_wait(
            TopicName.PIPELINE_EVENTS, event.model_dump_json().encode(), key=event.kind.encode()
        )


@asynccontextmanager
async def sending_verdicts(bootstrap: str) -> AsyncIterator[Callable[[Verdict], Awaitable[None]]]:
    """Give what sends one verdict and waits until it is acknowledged, for an `async with` block.

    The producer is idempotent where the broker knows how; a verdict that stands twice on the topic counts once.
    """
    most_bytes = await _most_bytes(bootstrap, TopicName.VERDICTS)
    producer = await _verdicts_producer(bootstrap, most_bytes)

    async def send(verdict: Verdict) -> None:
        key, value = verdict.trajectory_id.encode(), verdict.model_dump_json().encode()
        try:
            await producer.send_and_wait(TopicName.VERDICTS, value, key=key)
        except MessageSizeTooLargeError as error:
            raise TopicError(f"the verdict on {verdict.trajectory_id!r} is larger than its topic takes") from error
        except KafkaError as error:
            raise BrokerUnavailableError(
                f"the broker at {bootstrap!r} stopped taking verdicts ({error!r}); try again when it is back"
            ) from error

    try:
        yield send
    finally:
        await _close(producer)


async def _verdicts_producer(bootstrap: str, most_bytes: int) -> Any:
    try:
        return await _started(lambda: _producer(bootstrap, most_bytes, idempotent=True), bootstrap)
    except SettingsError:  # the embedded broker knows none
        return await _started(lambda: _producer(bootstrap, most_bytes, idempotent=False), bootstrap)


async def resend(
    bootstrap: str,
    *letters: DeadLetter,
    ndjson: bool = False,
    on_sent: Callable[[DeadLetter], None] = lambda _: None,
) -> None:
    """Send dead letters' bytes back to where they came from, with their address in the header `agentracer.redriven`.

    With `ndjson` the bytes are many events, one a line. `on_sent` gets each letter that was acknowledged. Whether one
    was sent back before is the caller's to know.
    """
    limits = {topic: await _most_bytes(bootstrap, topic) for topic in {letter.topic for letter in letters}}
    largest = max(limits.values(), default=_BATCH_BYTES)
    async with _open(lambda: _producer(bootstrap, largest, idempotent=False), bootstrap) as producer:
        for letter in letters:
            headers = [(REDRIVEN, letter.address.encode()), *([(CONTENT_TYPE, NDJSON)] if ndjson else [])]
            value = b"" if letter.key is None and letter.value is None else letter.value
            try:
                await producer.send_and_wait(letter.topic, value, key=letter.key, headers=headers)
            except MessageSizeTooLargeError as error:
                raise TopicError(f"dead letter {letter.address!r} is larger than its topic takes") from error
            on_sent(letter)
