"""Two and four streams workers over one, real processes on a topic of four partitions.

All have the same backlog to work off, and the rate is that of the events which the group's committed offsets pass,
between the moment when every worker has joined and every partition has moved since, and the moment when the first
partition is done: starting and joining are outside. The broker uses the same cores, so beyond their number a worker
more can bring nothing; it is told with the result.
"""

import asyncio
import os
import time
from contextlib import ExitStack
from statistics import median

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from benchmarks.broker import fill, forget
from benchmarks.load import interleaved, up_to
from benchmarks.report import Result, Scale, progress
from benchmarks.roles import worker
from ops import child
from ops.client import apply_topics
from ops.kafka.server import KafkaServer
from ops.pipeline import Worker
from ops.roles import Role
from schemas import TopicName

PARTITIONS, OPEN = 4, 1_000
WORKERS = (1, 2, 4)
CHECKPOINT = 5_000
"""Events; small, since a rate is read off the offsets that are committed after a checkpoint."""
LOOK_S = 0.05
PATIENCE_S = 300.0


def measure(bootstrap: str, workers: int, events: int) -> float:
    """Return the events/s of so many workers, which begin with nothing done."""
    group = f"scale-{time.time_ns()}"
    settings = {"AGENTRACER_STREAMS_GROUP": group, "AGENTRACER_CHECKPOINT_EVENTS": str(CHECKPOINT)}
    with ExitStack() as stack:
        started = [worker(Role.STREAMS, bootstrap, settings) for _ in range(workers)]
        for one in started:
            stack.callback(child.end, one.process)
        return asyncio.run(_rate(bootstrap, group, events, started))


async def _rate(bootstrap: str, group: str, events: int, workers: list[Worker]) -> float:
    deadline = time.monotonic() + PATIENCE_S
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        ends = await _ends(bootstrap)
        joined: dict[int, int] | None = None
        first: tuple[float, int] | None = None
        while time.monotonic() < deadline:
            for one in workers:
                one.check()
            committed = await _committed(admin, group)
            now, done = time.monotonic(), sum(committed.values())
            if joined is None and await _members(admin, group) == len(workers):
                joined = committed
            is_moving = joined is not None and all(committed.get(one, 0) > joined.get(one, 0) for one in ends)
            if first is None and is_moving:
                first = now, done
            elif any(committed.get(one, 0) >= end for one, end in ends.items()):
                if first is None:
                    raise RuntimeError(f"{events} events were done before {len(workers)} workers had joined: send more")
                return (done - first[1]) / (now - first[0])
            await asyncio.sleep(LOOK_S)
    finally:
        await admin.close()
    raise RuntimeError(f"{len(workers)} workers did not work off {events} events within {PATIENCE_S:.0f} s")


async def _ends(bootstrap: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    places = [TopicPartition(TopicName.STEP_EVENTS, partition) for partition in range(PARTITIONS)]
    ends = await consumer.end_offsets(places)
    await consumer.stop()
    return {place.partition: end for place, end in ends.items()}


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[int, int]:
    try:
        found = await admin.list_consumer_group_offsets(group)
    except KafkaError:  # the group is not there yet
        return {}
    return {place.partition: at.offset for place, at in found.items()}


async def _members(admin: AIOKafkaAdminClient, group: str) -> int:
    """Return how many members the group has, 0 while it is still sharing out."""
    try:
        answer = await admin.describe_consumer_groups([group])
    except KafkaError:
        return 0
    _, _, state, _, _, members, *_ = answer[0].groups[0]
    return len(members) if state == "Stable" else 0


def results(scale: Scale) -> list[Result]:
    """Measure; raises KafkaUnavailableError where there is no Java or Maven."""
    events = scale.of(480_000, 160_000)
    numbers = WORKERS[: scale.of(3, 2)]
    rates: dict[int, list[float]] = {number: [] for number in numbers}
    with KafkaServer() as kafka:
        asyncio.run(apply_topics(kafka.bootstrap, partitions=PARTITIONS, replicas=1))
        progress(f"scale: filling four partitions with {events:,} events")
        asyncio.run(fill(kafka.bootstrap, up_to(interleaved(OPEN), events), PARTITIONS))
        for at in range(1, scale.rounds + 1):
            for number in numbers:
                rates[number].append(measure(kafka.bootstrap, number, events))
                progress(f"scale: round {at} of {scale.rounds}: {number} workers {rates[number][-1]:,.0f} events/s")
                asyncio.run(forget(kafka.bootstrap, PARTITIONS))
    return [_result(number, rates) for number in numbers[1:]]


def _result(number: int, rates: dict[int, list[float]]) -> Result:
    ratio = median(many / one for many, one in zip(rates[number], rates[1], strict=True))
    what = f"{number} streams workers, four partitions, on {os.cpu_count()} cores that the broker uses too"
    ours, base = f"{median(rates[number]):,.0f} events/s", f"one worker {median(rates[1]):,.0f}"
    return Result("scale", what, ours, base, ratio, rounds=len(rates[1]))
