"""How long a worker takes to take over a partition with 100,000 open trajectories, against reading the same bytes bare.

A worker folds two 1 kB events of each, every one in a segment of its own, and is killed. Then in turn, processes of
their own on the same topic: a new worker, from its start to the line in its log that says that the partition is
restored and folding begins; and a bare aiokafka consumer, from its start to the last record of `assembler-state`.
Both have the interpreter's start and their imports in it. Since each new worker is killed too, all restore the same.
"""

import asyncio
import json
import time
from datetime import datetime
from statistics import median

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.alone import alone
from benchmarks.broker import FETCH_BYTES, fill
from benchmarks.load import Sent, piece
from benchmarks.report import Result, Scale, in_pairs, medians, progress, ratio_of
from benchmarks.roles import lags, worker
from ops import child
from ops.client import apply_topics
from ops.kafka.server import KafkaServer
from ops.pipeline import Worker
from ops.roles import Role
from schemas import TopicName

OPEN, EVENTS_EACH, STEPS = 100_000, 2, 40
PATIENCE_S = 300.0
LOOK_S = 0.05


def read_state_bare(bootstrap: str) -> int:
    """Read everything of the state; return its bytes."""
    size: int = uvloop.run(_read(bootstrap))
    return size


async def _read(bootstrap: str) -> int:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        check_crcs=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    place = TopicPartition(TopicName.ASSEMBLER_STATE, 0)
    consumer.assign([place])
    end, size = (await consumer.end_offsets([place]))[place], 0
    while await consumer.position(place) < end:
        for record in (await consumer.getmany(timeout_ms=500)).get(place, []):
            size += len(record.key or b"") + len(record.value or b"")
    await consumer.stop()
    return size


def take_over(bootstrap: str, trajectories: int) -> float:
    """Start a worker in a group of its own, and return the seconds until it has restored the partition."""
    group = f"recovery-{time.time_ns()}"
    began = time.time()
    started = worker(Role.STREAMS, bootstrap, {"AGENTRACER_STREAMS_GROUP": group})
    try:
        line = _restored(started)
    finally:
        child.end(started.process)
    assert line["open"] == trajectories, line
    return datetime.fromisoformat(str(line["at"])).timestamp() - began


def _restored(started: Worker) -> dict[str, object]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        started.check()
        for text in started.log.read_text().splitlines():
            if '"partition restored"' in text:
                line: dict[str, object] = json.loads(text)
                return line
        time.sleep(LOOK_S)
    raise RuntimeError(f"nothing restored within {PATIENCE_S:.0f} s; the worker said: {child.tail(started.log)}")


def _leave_open(bootstrap: str, trajectories: int) -> None:
    """Have a worker fold the beginnings of so many runs, and kill it once all is committed."""
    progress(f"recovery: opening {trajectories:,} trajectories")
    asyncio.run(fill(bootstrap, _beginnings(trajectories)))
    started = worker(Role.STREAMS, bootstrap, {"AGENTRACER_STREAMS_GROUP": "recovery"})
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (lag := asyncio.run(lags(bootstrap, ["recovery"]))["recovery"]) != 0:
            started.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{lag} events are left after {PATIENCE_S:.0f} s")
            time.sleep(0.5)
    finally:
        child.end(started.process)


def _beginnings(trajectories: int) -> list[Sent]:
    return [
        piece(f"t-{number:06d}-00000", index, index + 1, STEPS)
        for index in range(EVENTS_EACH)
        for number in range(trajectories)
    ]


def results(scale: Scale) -> list[Result]:
    """Measure; raises KafkaUnavailableError where there is no Java or Maven."""
    trajectories = scale.of(OPEN, 5_000)
    sizes: list[int] = []

    with KafkaServer() as kafka:
        asyncio.run(apply_topics(kafka.bootstrap, partitions=1, replicas=1))
        _leave_open(kafka.bootstrap, trajectories)

        def bare() -> float:
            began = time.time()
            sizes.append(alone(read_state_bare, kafka.bootstrap))
            return time.time() - began

        pairs = in_pairs(scale.rounds, "recovery", lambda: take_over(kafka.bootstrap, trajectories), bare)
    ours, base = medians(pairs)
    what = f"taking over {trajectories:,} open trajectories, {median(sizes) / 1e6:.0f} MB of state"
    return [
        Result(
            "recovery",
            what,
            f"{ours:.1f} s",
            f"reading the same bytes {base:.1f} s",
            ratio_of(pairs),
            rounds=len(pairs),
        )
    ]
