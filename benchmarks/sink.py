"""The sink's insert over a bare clickhouse-connect insert of the same rows; and the whole sink on a real Kafka.

The rows are 1 kB steps, 10,000 an insert, into the embedded store. Bare is `client.insert` of ready columns with their
types given; ours begins with rows. The pairs run in turn, and what counts is the ratio within a pair. The whole sink
reads trajectories of 20 steps that are on their topic already; its processes share the machine with Kafka and the
store.
"""

import asyncio
import time
from datetime import UTC, datetime
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from clickhouse_connect.datatypes.registry import get_from_name

from benchmarks.load import step_event
from benchmarks.report import Result, Scale, Target, in_pairs, medians, ratio_of
from ops.client import apply_topics
from ops.embedded.store import EmbeddedStore
from ops.kafka.server import KafkaServer
from schemas import CloseReason, KeySource, StepEvent, TopicName, Trajectory
from streams.drain import drain
from streams.migrate import migrate
from streams.rows import Row, step_rows
from streams.sink import Store, connect
from streams.sink_settings import SinkSettings
from streams.tables import STEPS

ROWS = 10_000
STEPS_EACH = 20
TRAJECTORIES = 10_000
INSERTS = 4
"""Pairs of a round."""


def trajectories(count: int) -> list[Trajectory]:
    """Return closed trajectories of 1 kB steps."""
    now = datetime.now(UTC)
    return [
        Trajectory(
            trajectory_id=f"t-{number}",
            opened_at=now,
            revision=1,
            key_source=KeySource.RUN_ID,
            tenant="default",
            system="orders",
            close_reason=CloseReason.COMPLETED,
            closed_at=now,
            steps=tuple(StepEvent.model_validate_json(step_event(f"t-{number}", index)) for index in range(STEPS_EACH)),
        )
        for number in range(count)
    ]


def bare(store: Store, columns: list[tuple[object, ...]]) -> float:
    """Return rows/s of the driver's insert of ready columns."""
    begun = time.perf_counter()
    store.client.insert(
        STEPS.name,
        columns,
        column_names=[name for name, _ in STEPS.columns],
        column_types=[get_from_name(kind) for _, kind in STEPS.columns],
        column_oriented=True,
        settings={"insert_deduplication_token": uuid4().hex},
    )
    return ROWS / (time.perf_counter() - begun)


def ours(store: Store, rows: list[Row]) -> float:
    """Return rows/s of the sink's insert."""
    begun = time.perf_counter()
    store.insert(STEPS, rows, uuid4().hex)
    return ROWS / (time.perf_counter() - begun)


async def whole(store: Store, bootstrap: str, count: int) -> float:
    """Return steps/s of so many trajectories from Kafka into the store."""
    await apply_topics(bootstrap, partitions=4, replicas=1)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_batch_size=1_000_000)
    await producer.start()
    for one in trajectories(count):
        value = one.model_dump_json(exclude_defaults=True).encode()
        await producer.send(TopicName.TRAJECTORIES, value, key=one.trajectory_id.encode())
    await producer.stop()
    store.client.command("TRUNCATE TABLE steps_raw")
    stop = asyncio.Event()
    settings = SinkSettings(bootstrap=bootstrap, clickhouse_url=f"http://{store.address}/{store.database}")
    draining = asyncio.create_task(drain(settings, stop))
    first: tuple[float, int] | None = None
    while (stored := await asyncio.to_thread(_stored, store)) < count * STEPS_EACH:
        first = first or ((time.perf_counter(), stored) if stored else None)
        await asyncio.sleep(0.05)
    assert first is not None, "it was over before it could be measured"
    rate = (stored - first[1]) / (time.perf_counter() - first[0])
    stop.set()
    await draining
    return rate


def _stored(store: Store) -> int:
    return int(store.client.query("SELECT count() FROM steps_raw").result_rows[0][0])


def results(scale: Scale) -> list[Result]:
    """Measure; raises KafkaUnavailableError where there is no Java or Maven."""
    with EmbeddedStore() as server, KafkaServer() as kafka:
        store = connect(f"{server.url}/agentracer")
        migrate(store.client, store.database)
        rows = [row for one in trajectories(ROWS // STEPS_EACH) for row in step_rows(one)]
        columns = list(zip(*rows, strict=True))
        ours(store, rows)  # the first one of a store takes longer
        pairs = in_pairs(
            scale.of(INSERTS, 1) * scale.rounds, "sink", lambda: ours(store, rows), lambda: bare(store, columns)
        )
        rate = asyncio.run(whole(store, kafka.bootstrap, scale.of(TRAJECTORIES, 1_000)))
        store.close()
    of_ours, of_bare = medians(pairs)
    what, base = f"the sink's insert, {ROWS:,} rows", f"bare clickhouse-connect insert of ready columns {of_bare:,.0f}"
    insert = Result("sink", what, f"{of_ours:,.0f} rows/s", base, ratio_of(pairs), Target(at_least=0.8), len(pairs))
    what, base = "the whole sink, from Kafka into the store", f"bare insert {of_bare:,.0f}"
    return [insert, Result("sink, whole", what, f"{rate:,.0f} steps/s", base, rate / of_bare)]
