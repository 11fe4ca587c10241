"""A worker that was fenced waits for its next assignment while the broker is away, and ends where none comes."""

import asyncio
from time import monotonic

import pytest

from ops.kafka.jars import jars
from ops.kafka.server import KafkaServer
from schemas.errors import KafkaUnavailableError
from streams.kafka import FencedError
from streams.partitions import Partitions
from streams.route import RoutingRules
from streams.settings import StreamsSettings
from tests.streams.real import remake_topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


async def tick_for(partitions: Partitions, seconds: float) -> None:
    until = monotonic() + seconds
    while monotonic() < until:
        await partitions.tick()
        await asyncio.sleep(0.05)


async def test_a_fenced_worker_ends_where_no_assignment_comes_but_not_for_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        jars()
    except KafkaUnavailableError as error:
        pytest.skip(f"NOT TESTED HERE: {error}")
    monkeypatch.setattr("streams.partitions.FENCED_S", 2.0)
    monkeypatch.setattr("streams.partitions.ASKED_S", 0.3)
    fatal: list[BaseException] = []
    with KafkaServer() as server:
        await remake_topics(server.bootstrap, partitions=1)
        partitions = Partitions(StreamsSettings(bootstrap=server.bootstrap), RoutingRules(), 1, on_fatal=fatal.append)
        await partitions.reader.start()
        try:
            server.pause()
            partitions._note_fence(0, FencedError("partition 0 was taken over by another worker"))
            await tick_for(partitions, 4.0)
            assert not fatal
            server.resume()
            await tick_for(partitions, 1.0)
            assert not fatal
            await tick_for(partitions, 6.0)
            assert "taken over" in str(fatal[0])
        finally:
            await partitions.reader.stop()
