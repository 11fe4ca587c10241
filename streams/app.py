"""The Faust app of the streams worker: batches of step events into the partitions' assemblers.

Rules: one processor, one concurrency, scaled by partitions; the clock's tick writes checkpoints and commits the
group's offsets after them; `build_app` is a factory, so two apps can live in one process.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import faust

from schemas import TopicName
from schemas.health import Health
from schemas.metrics import UNMETERED, Metrics

from .delivery import CODEC, BatchConsumer, BatchTransport
from .partitions import Partitions
from .route import load_rules
from .settings import StreamsSettings

log = logging.getLogger("agentracer.streams")
TICK_S = 0.1


class StreamsApp(faust.App):
    """A Faust app that knows its partitions and where they go on."""

    source_topic = TopicName.STEP_EVENTS.value
    fetch_wait_ms: int
    partitions: Partitions

    async def positions(self, partitions: list[int], epoch: int) -> dict[int, int]:
        """Take over the assigned partitions; return the offsets they go on from."""
        return dict(await self.partitions.take_over(partitions, epoch))


def build_app(
    settings: StreamsSettings,
    partitions: int,
    *,
    on_fatal: Callable[[BaseException], None],
    metrics: Metrics = UNMETERED,
    health: Health | None = None,
) -> StreamsApp:
    """Return the app; it starts nothing until its own `start()`."""
    app = StreamsApp(settings.streams_group, **_faust_settings(settings))
    app.fetch_wait_ms = settings.fetch_wait_ms
    rules = load_rules(settings.routing_rules)
    app.partitions = Partitions(settings, rules, partitions, on_fatal=on_fatal, metrics=metrics, health=health)
    app.transport = BatchTransport(app.conf.broker_consumer, app)
    topic = app.topic(StreamsApp.source_topic, value_serializer=CODEC, value_type=None, key_type=bytes)

    @app.agent(topic, concurrency=1, name="assemble")
    async def assemble(batches: faust.Stream) -> None:
        async for event in batches.noack().events():
            batch = event.value
            await app.partitions.fold(batch)
            consumer(app).taken(batch)

    @app.task
    async def tick() -> None:
        committed: dict[int, int] = {}
        while not app.should_stop:
            await asyncio.sleep(TICK_S)
            for partition in list(app.partitions.held):
                app.partitions.answered(partition, consumer(app).answer(partition))
            offsets = await app.partitions.tick()
            if offsets and offsets != committed and not app.rebalancing:
                await consumer(app).commit_to(offsets)
                committed = offsets

    @app.on_partitions_revoked.connect
    async def release(*_: object, **__: object) -> None:
        await app.partitions.release()

    return app


def consumer(app: StreamsApp) -> BatchConsumer:
    """Return the app's consumer."""
    return app.consumer  # type: ignore[no-any-return]


def _faust_settings(settings: StreamsSettings) -> dict[str, object]:
    session_s = settings.session_timeout_ms / 1000
    return {
        "broker": [f"kafka://{host}" for host in settings.bootstrap.split(",")],
        "store": "memory://",
        "datadir": Path(gettempdir()) / "agentracer-streams",  # Faust makes it, though nothing is kept there
        "key_serializer": "raw",
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": settings.instance_id,
        "consumer_max_fetch_size": 4_000_000,
        "broker_session_timeout": session_s,
        "broker_heartbeat_interval": session_s / 4,
        "broker_max_poll_records": 4_000,
        "broker_check_crcs": False,
        "stream_wait_empty": False,
        "stream_buffer_maxsize": 1_000,
        "web_enabled": False,
        "producer_linger": 0.02,
    }
