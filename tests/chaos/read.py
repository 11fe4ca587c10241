"""What stands on the topics and in the store at the end of a run, every record and every row of it.

Rules: topics are read committed, from their start, and nothing is merged: what stands twice is seen twice; the store
is read through its views, row by row.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops.query import connect
from schemas import TOPICS, CloseReason, Outcome, PipelineEvent, TopicName, Trajectory
from schemas.dead_letter import from_record
from schemas.wire import Line, is_ndjson, read_line, read_record
from streams.relay import FORWARDED
from streams.state import SOURCE_KEY

from .load import digest, digest_of
from .size import PARTITIONS

Identity = tuple[str, int, int]
"""Trajectory id, opened at (ms), revision."""


class Revision(NamedTuple):
    """One record of `trajectories`."""

    identity: Identity
    close_reason: CloseReason
    closed_ms: int
    outcome: Outcome | None
    outcome_ms: int | None
    steps: tuple[tuple[str, bytes], ...]
    """Event id and digest."""
    in_order: bool


class Appended(NamedTuple):
    """One event of `step-events`."""

    offset: int
    append_ms: int
    trajectory_id: str
    event_id: str
    is_end: bool
    forwarded: bool


@dataclass(slots=True)
class Topics:
    """Everything on the topics."""

    source: dict[int, list[Appended]] = field(default_factory=dict)
    revisions: list[Revision] = field(default_factory=list)
    failed: Counter[Identity] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    letters: Counter[bytes] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


class Cleaned(NamedTuple):
    """What is left of `assembler-state`."""

    records: int
    offsets: int
    """From the first record to the end."""
    sources: int
    """Records of the key that every checkpoint writes."""


@dataclass(slots=True)
class Rows:
    """Every row of the views."""

    steps: Counter[tuple[str, str]]
    contents: dict[tuple[str, str], str]
    trajectories: Counter[str]
    latest: dict[str, tuple[int, int, str | None]]
    """Opened at (ms), revision, result."""
    verdicts: Counter[Identity]
    outcomes: Counter[tuple[str, str]]
    letters: Counter[bytes]
    reports: Counter[str]


async def read_topics(bootstrap: str) -> Topics:
    """Read all topics that are held against the ledger."""
    found = Topics()
    async for record in _records(bootstrap, TopicName.STEP_EVENTS):
        found.source.setdefault(record.partition, []).extend(_appended(record))
    async for record in _records(bootstrap, TopicName.TRAJECTORIES):
        found.revisions.append(_revision(Trajectory.model_validate_json(record.value)))
    async for record in _records(bootstrap, TopicName.FAILED_TRAJECTORIES):
        found.failed[_identity(Trajectory.model_validate_json(record.value))] += 1
    async for record in _records(bootstrap, TopicName.OUTCOMES):
        line = read_line(record.value)
        assert isinstance(line, Line)
        found.outcomes[line.event.trajectory_id, line.event.event_id] += 1
    async for record in _records(bootstrap, TopicName.DEAD_LETTERS):
        letter = from_record(record.key, record.value, record.headers)
        assert letter is not None
        found.letters[digest_of(letter.value or b"")] += 1
        found.reasons[letter.reason] += 1
    async for record in _records(bootstrap, TopicName.PIPELINE_EVENTS):
        found.reports[PipelineEvent.model_validate_json(record.value).pipeline_event_id] += 1
    return found


async def failed_count(bootstrap: str) -> int:
    """Return how many failed revisions there are."""
    return sum([1 async for _ in _records(bootstrap, TopicName.FAILED_TRAJECTORIES)])


async def read_state(bootstrap: str) -> Cleaned:
    """Read what the cleaner has left of the state."""
    firsts: dict[int, int] = {}
    records = sources = 0
    async for record in _records(bootstrap, TopicName.ASSEMBLER_STATE):
        firsts.setdefault(record.partition, record.offset)
        records += 1
        sources += record.key == SOURCE_KEY
    ends = await _ends(bootstrap, TopicName.ASSEMBLER_STATE)
    return Cleaned(records, sum(ends[partition] - first for partition, first in firsts.items()), sources)


async def _records(bootstrap: str, topic: TopicName) -> AsyncIterator[Any]:
    async with _reader(bootstrap, topic) as (consumer, ends):
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=300)).values():
                for record in records:
                    yield record


async def _ends(bootstrap: str, topic: TopicName) -> dict[int, int]:
    async with _reader(bootstrap, topic) as (_, ends):
        return {place.partition: end for place, end in ends.items()}


@asynccontextmanager
async def _reader(bootstrap: str, topic: TopicName) -> AsyncIterator[tuple[Any, dict[TopicPartition, int]]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        places = [TopicPartition(topic.value, number) for number in range(TOPICS[topic].partitions or PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        yield consumer, await consumer.end_offsets(places)
    finally:
        await consumer.stop()


def _appended(record: Any) -> list[Appended]:
    ndjson = is_ndjson(record.headers)
    forwarded = any(name == FORWARDED for name, _ in record.headers)
    events = [line.event for line in read_record(record.value, ndjson=ndjson) if isinstance(line, Line)]
    if not events:
        return [Appended(record.offset, record.timestamp, "", "", is_end=False, forwarded=forwarded)]
    return [
        Appended(record.offset, record.timestamp, one.trajectory_id, one.event_id, one.final, forwarded)
        for one in events
    ]


def _identity(one: Trajectory) -> Identity:
    return one.trajectory_id, round(one.opened_at.timestamp() * 1000), one.revision


def _revision(one: Trajectory) -> Revision:
    indices = [step.step_index or 0 for step in one.steps]
    return Revision(
        _identity(one),
        one.close_reason,
        round(one.closed_at.timestamp() * 1000),
        one.outcome,
        None if one.outcome_at is None else round(one.outcome_at.timestamp() * 1000),
        tuple((step.event_id, digest(step)) for step in one.steps),
        indices == sorted(indices),
    )


def read_rows(clickhouse: str) -> Rows:
    """Read the views."""
    with connect(clickhouse) as client:

        def rows(query: str, **formats: str) -> list[Any]:
            return list(client.query(query, column_formats=formats).result_rows)

        steps = rows("SELECT trajectory_id, event_id, content FROM steps")
        latest = rows("SELECT trajectory_id, toUnixTimestamp64Milli(opened_at), revision, result FROM trajectories")
        verdicts = rows("SELECT trajectory_id, toUnixTimestamp64Milli(opened_at), revision FROM verdicts")
        outcomes = rows("SELECT trajectory_id, event_id FROM outcomes")
        letters = rows("SELECT value FROM dead_letters", value="bytes")
        reports = rows("SELECT pipeline_event_id FROM pipeline_events")
    return Rows(
        Counter((one, event) for one, event, _ in steps),
        {(one, event): content for one, event, content in steps},
        Counter(one for one, *_ in latest),
        {one: (opened, revision, result) for one, opened, revision, result in latest},
        Counter((one, opened, revision) for one, opened, revision in verdicts),
        Counter((one, event) for one, event in outcomes),
        Counter(digest_of(bytes(value or b"")) for (value,) in letters),
        Counter(one for (one,) in reports),
    )


def read_statuses(clickhouse: str) -> dict[str, int]:
    """Count the standing verdicts by who gave them and how."""
    with connect(clickhouse) as client:
        found = client.query("SELECT tracer, status, count() FROM verdicts GROUP BY ALL ORDER BY ALL").result_rows
    return {f"{tracer} {status}": int(count) for tracer, status, count in found}


RAW = ("trajectories", "steps", "outcomes", "verdicts", "standing_verdicts", "dead_letters", "pipeline_events")


def insert_again(clickhouse: str) -> None:
    """Write every row of the store a second time, as a redelivery would."""
    with connect(clickhouse) as client:
        for table in RAW:
            client.command(f"INSERT INTO {table}_raw SELECT * FROM {table}_raw SETTINGS insert_deduplicate = 0")
