"""What can be learnt of a broker only by asking it to do something: whether its transactions work, what its clocks
say, and what the assembler's state was written for.

Rules: no topic of the product is written to. For the transactions and the clocks a topic of the probe's own,
`agentracer-doctor-…`, gets one record on each broker in one transaction, whose append times are the brokers' own, and
is deleted again; one that a kill leaves behind goes with `kafka-topics.sh --delete`, and holds no data. The state is
read from its end, where the last checkpoint is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

from ops.client import administering, first_offsets, new_topic, read_tails, transacting
from schemas import TopicName
from schemas.errors import AgentracerError, BrokerUnavailableError
from streams.state import SOURCE_KEY, Source, read_state

PROBE_S = 20.0
"""A broker whose transactions work answers in well under a second."""
TAIL = 1_000
"""Offsets of the state's end that are read first; further back where the last checkpoint was larger."""
_CONFIG = {
    "message.timestamp.type": "LogAppendTime",
    "min.insync.replicas": "1",
    "retention.ms": "3600000",
    "cleanup.policy": "delete",
}


class Span(NamedTuple):
    """A broker's time, and ours before it was asked and after it answered, in seconds."""

    broker: int
    theirs: float
    before: float
    after: float

    @property
    def difference_s(self) -> float:
        """By how much its clock is surely ahead of ours; 0 where it may agree."""
        return min(0.0, self.theirs - self.before) + max(0.0, self.theirs - self.after)


class Held(NamedTuple):
    """What the assembler's state of a partition says, and where the log of `step-events` begins now."""

    partition: int
    source: Source
    first: int


async def clocks(bootstrap: str, now: Callable[[], float]) -> list[Span]:
    """Return each broker's time, by one transaction; raises what is wrong with the broker's transactions."""
    name = f"agentracer-doctor-{uuid4().hex[:12]}"
    async with administering(bootstrap) as admin:
        brokers = [one["node_id"] for one in (await admin.describe_cluster())["brokers"]]
        try:
            async with asyncio.timeout(PROBE_S), transacting(bootstrap, name) as producer, _topic(admin, name, brokers):
                return await _appended(producer, name, brokers, now)
        except (TimeoutError, BrokerUnavailableError) as error:
            raise BrokerUnavailableError(
                f"the broker at {bootstrap!r} answers, but no transaction can be written; look at its log, and "
                "whether there are as many brokers as transaction.state.log.replication.factor asks for"
            ) from error


@asynccontextmanager
async def _topic(admin: Any, name: str, brokers: list[int]) -> AsyncIterator[None]:
    answer = await admin.create_topics([new_topic(name, brokers, _CONFIG)])
    _, code, message = answer.topic_errors[0]
    if code:
        raise AgentracerError(f"the topic {name!r} can't be made ({message}): look at the rights of this user")
    try:
        yield
    finally:
        await asyncio.shield(admin.delete_topics([name]))


async def _appended(producer: Any, name: str, brokers: list[int], now: Callable[[], float]) -> list[Span]:
    spans = []
    async with producer.transaction():
        for partition, broker in enumerate(brokers):
            before = now()
            placed = await producer.send_and_wait(name, b"", partition=partition)
            spans.append(Span(broker, placed.timestamp / 1000, before, now()))
    return spans


async def states(bootstrap: str, state_partitions: int, partitions: int) -> list[Held]:
    """Return what the state of each partition says, where there is any."""
    first = await first_offsets(bootstrap, TopicName.STEP_EVENTS, partitions)
    found = await _sources(bootstrap, set(range(state_partitions)))
    return [Held(number, source, first.get(number, 0)) for number, source in sorted(found.items())]


async def _sources(bootstrap: str, wanted: set[int]) -> dict[int, Source]:
    """Read the last source record of each partition; it ends every checkpoint."""
    found: dict[int, Source] = {}
    tail = TAIL
    while wanted:
        for number, read in (await read_tails(bootstrap, TopicName.ASSEMBLER_STATE, wanted, tail)).items():
            source = read_state((key, value) for key, value in read.records if key == SOURCE_KEY).source
            if source is not None:
                found[number] = source
            if source is not None or read.is_whole:
                wanted.discard(number)
        tail *= 100
    return found
