"""What the broker's client raises is said in our words, also where it is the event loop's own error."""

import asyncio
import socket

import pytest
import uvloop
from aiokafka.errors import KafkaConnectionError

from schemas.errors import BrokerUnavailableError
from streams import drain
from streams.kafka import in_our_words
from streams.sink_settings import SinkSettings
from streams.unpack import READ


def test_a_kafka_error_says_that_the_broker_ended_the_work() -> None:
    with pytest.raises(BrokerUnavailableError, match="start the worker again"), in_our_words("host:9092"):
        raise KafkaConnectionError("gone")


def test_a_write_to_a_closed_connection_is_the_broker_gone_and_no_defect() -> None:
    async def write_after_close() -> None:
        ours, _ = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=ours)
        writer.close()
        await asyncio.sleep(0.01)
        writer.write(b"too late")

    with pytest.raises(BrokerUnavailableError), in_our_words("host:9092"):
        uvloop.run(write_after_close())


def test_another_runtime_error_stays_a_defect() -> None:
    with pytest.raises(RuntimeError, match="no such thing"), in_our_words("host:9092"):
        raise RuntimeError("no such thing")


class Dying:
    """A client whose own tasks were cancelled when its connection went."""

    async def start(self) -> None:
        pass

    async def topics(self) -> set[str]:
        return set(READ)

    async def stop(self) -> None:
        raise asyncio.CancelledError


async def test_a_client_that_ends_badly_hides_nothing_of_what_ended_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "_consumer", lambda _: Dying())
    monkeypatch.setattr(drain, "_producer", lambda _: Dying())
    with pytest.raises(BrokerUnavailableError), in_our_words("host:9092"):
        async with drain._clients(SinkSettings()):
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
