"""What the benchmarks do with the broker beside what they measure: fill `step-events`, read it bare, forget what a
worker wrote.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.load import Sent
from ops.client import apply_topics
from schemas import TopicName
from schemas.errors import AgentracerError
from schemas.wire import Line, is_ndjson, read_record
from streams.home import home_partition

WRITTEN = (
    TopicName.ASSEMBLER_STATE,
    TopicName.TRAJECTORIES,
    TopicName.FAILED_TRAJECTORIES,
    TopicName.OUTCOMES,
    TopicName.DEAD_LETTERS,
    TopicName.PIPELINE_EVENTS,
)
FETCH_BYTES = 4_000_000
"""What the streams worker asks for of a partition; the bare reader has the same."""
_DELETED_S = 30.0


async def fill(bootstrap: str, records: Iterable[Sent], partitions: int = 1) -> int:
    """Write records to `step-events`, each to its key's home; return how many there were."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_batch_size=262_144)
    await producer.start()
    count = 0
    for record in records:
        home = home_partition(record.key.decode(), partitions)
        await producer.send(TopicName.STEP_EVENTS, record.value, key=record.key, headers=record.headers, partition=home)
        count += 1
    await producer.stop()
    return count


async def read_bare(bootstrap: str, records: int) -> tuple[float, float, int]:
    """Read and validate that many records by `getmany`, nothing else.

    Return the seconds from the first answer, those of CPU, and how many events there were.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        check_crcs=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    place = TopicPartition(TopicName.STEP_EVENTS, 0)
    consumer.assign([place])
    read = events = 0
    started: float | None = None
    cpu = time.process_time()
    while read < records:
        found = (await consumer.getmany(timeout_ms=500, max_records=4_000)).get(place, [])
        if started is None:
            started, cpu = time.perf_counter(), time.process_time()
        read += len(found)
        events += sum(_events_of(record) for record in found)
    assert started is not None
    taken, cpu = time.perf_counter() - started, time.process_time() - cpu
    await consumer.stop()
    return taken, cpu, events


def _events_of(record: Any) -> int:
    read = read_record(record.value, ndjson=is_ndjson(record.headers))
    return sum(isinstance(line, Line) for line in read)


async def forget(bootstrap: str, partitions: int = 1) -> None:
    """Delete what a worker wrote, so that the next starts from nothing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_topics([name.value for name in WRITTEN])
    await admin.close()
    deadline = time.monotonic() + _DELETED_S
    while True:
        await asyncio.sleep(0.2)
        try:
            await apply_topics(bootstrap, partitions=partitions, replicas=1)
        except AgentracerError:  # the broker is still deleting
            if time.monotonic() > deadline:
                raise
        else:
            return
