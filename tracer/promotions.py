"""Follows the topic `promotions`: the adapter that was promoted last serves, from the next trajectory on.

Rules: no group, every worker reads all of it, and starts with the last promotion that it can serve; one that can't be
served (another base model, a folder that is not there, an adapter that does not fit) is reported on `pipeline-events`
and what served before goes on; while the broker is away it waits.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from schemas import PipelineEvent, PipelineEventKind, Promotion, TopicName
from schemas.errors import AdapterError, AgentracerError

log = logging.getLogger(__name__)
TOPIC = TopicName.PROMOTIONS
AGAIN_S = 1.0
POLL_MS = 1_000


class Adopts(Protocol):
    """A tracer that can change its adapter while it traces."""

    @property
    def base_model(self) -> str:
        """The name that a promotion has to give."""
        ...

    async def adopt(self, adapter: Path | None) -> str:
        """Serve the next ones with this adapter; raises an AgentracerError where it can't, and goes on as before."""
        ...


async def follow(bootstrap: str, tracer: Adopts) -> None:
    """Adopt what was promoted last, and whatever is promoted from then on, for ever."""
    while True:
        try:
            async with _clients(bootstrap) as (consumer, producer):
                await _follow(consumer, producer, tracer)
        except (KafkaError, OSError, RuntimeError) as error:  # the last: uvloop's word for a closed connection
            log.warning("promotions can't be read, trying again", extra={"error": type(error).__name__})
            await asyncio.sleep(AGAIN_S)


async def _follow(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, tracer: Adopts) -> None:
    partition = TopicPartition(TOPIC.value, 0)
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    await consumer.seek_to_beginning(partition)
    past: list[ConsumerRecord] = []
    while await consumer.position(partition) < end:
        for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
            past += records
    for record in reversed(past):
        if await _adopted(record, producer, tracer):
            break
    while True:
        for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
            for record in records:
                await _adopted(record, producer, tracer)


async def _adopted(record: ConsumerRecord, producer: AIOKafkaProducer, tracer: Adopts) -> bool:
    """Adopt what one record promotes, or report why not."""
    try:
        promotion = Promotion.model_validate_json(record.value or b"")
        version = await _adopt(promotion, tracer)
    except (ValidationError, AgentracerError) as error:
        why = str(error).splitlines()[0]
        log.warning("promotion refused", extra={"offset": record.offset, "why": why})
        await _report(record, why, producer)
        return False
    log.info("promotion adopted", extra={"promotion": promotion.promotion_id, "version": version})
    return True


async def _adopt(promotion: Promotion, tracer: Adopts) -> str:
    if promotion.base_model != tracer.base_model:
        raise AdapterError(
            f"adapter {promotion.adapter!r} is for {promotion.base_model!r}, this tracer serves {tracer.base_model!r}"
        )
    return await tracer.adopt(folder_of(promotion.adapter_uri))


def folder_of(uri: str) -> Path:
    """Return the folder that a URI names; raises AdapterError where it is none of this machine."""
    parts = urlsplit(uri)
    if parts.scheme not in {"", "file"} or parts.netloc not in {"", "localhost"} or not parts.path:
        raise AdapterError(f"{uri!r} is no folder of this machine; give file:///…, mounted where the tracer runs")
    folder = Path(unquote(parts.path))
    if not folder.is_dir():
        raise AdapterError(f"there is no folder {str(folder)!r}; mount the adapter where the tracer runs")
    return folder


async def _report(record: ConsumerRecord, why: str, producer: AIOKafkaProducer) -> None:
    kind = PipelineEventKind.ADAPTER_REFUSED
    named = f"{kind}/{record.offset}/{record.timestamp}"
    event = PipelineEvent(
        pipeline_event_id=hashlib.sha256(named.encode()).hexdigest()[:32],
        kind=kind,
        topic=TOPIC,
        partition=record.partition,
        detail={"offset": record.offset, "why": why},
        at=datetime.now(UTC),
    )
    await producer.send_and_wait(TopicName.PIPELINE_EVENTS.value, event.model_dump_json().encode(), key=kind.encode())


@asynccontextmanager
async def _clients(bootstrap: str) -> AsyncIterator[tuple[AIOKafkaConsumer, AIOKafkaProducer]]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id="agentracer-tracer-promotions",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, client_id="agentracer-tracer-promotions", acks="all")
    try:
        await consumer.start()
        await producer.start()
        yield consumer, producer
    finally:
        await consumer.stop()
        await producer.stop()
