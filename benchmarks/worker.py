"""One streams worker on real Kafka over a bare aiokafka `getmany` loop with the same validation.

Both read the same topic, one partition, 1 kB step events, 1,000 trajectories open at any time; the worker writes a
checkpoint every 10,000 events, so at least 20 of them. Each measurement is a process of its own; the pairs run in
turn, and what counts is the ratio within a pair.
"""

import asyncio
import json
import subprocess
import sys
import time
from statistics import median

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.load import interleaved
from ops.client import apply_topics
from ops.kafka.server import KafkaServer
from schemas import TopicName
from schemas.wire import Line, read_line
from streams import partitions as streams_partitions
from streams.settings import StreamsSettings
from streams.worker import collect_garbage_seldom, run

EVENTS = 240_000
OPEN = 1_000
CHECKPOINT = 10_000
OWN = (TopicName.ASSEMBLER_STATE, TopicName.TRAJECTORIES, TopicName.FAILED_TRAJECTORIES)


async def fill(bootstrap: str) -> None:
    """Write the load to `step-events`."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_batch_size=262_144)
    await producer.start()
    for number, (key, value) in enumerate(interleaved(EVENTS, OPEN)):
        await producer.send(TopicName.STEP_EVENTS, value, key=key, partition=0)
        if number % 10_000 == 0:
            await producer.flush()
    await producer.stop()


async def bare(bootstrap: str) -> float:
    """Return events/s of `getmany` and validation, nothing else."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, check_crcs=False, auto_offset_reset="earliest")
    await consumer.start()
    place = TopicPartition(TopicName.STEP_EVENTS, 0)
    consumer.assign([place])
    count, started = 0, None
    while count < EVENTS:
        records = (await consumer.getmany(timeout_ms=500, max_records=4_000)).get(place, [])
        started = started or time.perf_counter()
        count += sum(isinstance(read_line(record.value), Line) for record in records)
    assert started is not None
    taken = time.perf_counter() - started
    await consumer.stop()
    return count / taken


async def worker(bootstrap: str) -> float:
    """Return events/s from the first fold to the commit of the checkpoint that includes the last event."""
    stop = asyncio.Event()
    settings = StreamsSettings(
        bootstrap=bootstrap, checkpoint_events=CHECKPOINT, checkpoint_ms=60_000, streams_group=f"bench-{time.time_ns()}"
    )
    times = _watch(stop)
    collect_garbage_seldom()
    await run(settings, stop)
    return EVENTS / (times["done"] - times["started"])


def _watch(stop: asyncio.Event) -> dict[str, float]:
    """Note when the first batch is folded and when the last event is committed."""
    times: dict[str, float] = {}
    fold, write = streams_partitions.Partitions.fold, streams_partitions.Partitions._write

    async def noted_fold(self: streams_partitions.Partitions, batch: streams_partitions.Batch) -> None:
        times.setdefault("started", time.perf_counter())
        await fold(self, batch)
        if batch.records[-1].offset >= EVENTS - 1:
            await self.checkpoint(batch.partition)

    async def noted_write(self: streams_partitions.Partitions, held: streams_partitions.Held) -> None:
        await write(self, held)
        if (held.written_offset or 0) >= EVENTS:
            times["done"] = time.perf_counter()
            stop.set()

    streams_partitions.Partitions.fold = noted_fold  # type: ignore[method-assign]
    streams_partitions.Partitions._write = noted_write  # type: ignore[method-assign]
    return times


async def forget(bootstrap: str) -> None:
    """Delete what a worker wrote, so that the next starts from nothing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_topics(list(OWN))
    await admin.close()
    for _ in range(20):
        await asyncio.sleep(0.5)
        try:
            await apply_topics(bootstrap, partitions=1, replicas=1)
        except Exception:  # noqa: BLE001 - the broker is still deleting
            continue
        return


def measured(what: str, bootstrap: str) -> float:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.worker", what, bootstrap]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def main(rounds: int = 5) -> dict[str, float]:
    """Print and return the table."""
    bares, workers = [], []
    with KafkaServer() as kafka:
        asyncio.run(apply_topics(kafka.bootstrap, partitions=1, replicas=1))
        asyncio.run(fill(kafka.bootstrap))
        for _ in range(rounds):
            bares.append(measured("bare", kafka.bootstrap))
            workers.append(measured("worker", kafka.bootstrap))
            asyncio.run(forget(kafka.bootstrap))
    ratio = median(ours / bare for ours, bare in zip(workers, bares, strict=True))
    print(f"one streams worker, {EVENTS // CHECKPOINT} checkpoints, {OPEN:,} open across each (median of {rounds})")
    print(f"    bare getmany + validation {median(bares):10,.0f} events/s")
    print(f"    streams worker            {median(workers):10,.0f} events/s   {ratio:.2f} of bare")
    return {"bare": median(bares), "worker": median(workers), "ratio": ratio}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(uvloop.run({"bare": bare, "worker": worker}[sys.argv[1]](sys.argv[2]))))
    else:
        main()
