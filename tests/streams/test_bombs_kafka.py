"""Compressed batches that are small on the wire and huge when opened: a dead letter each, in bounded memory."""

import asyncio

import pytest

from ops.roles import Role
from schemas import DeadLetterReason, TopicName
from tests.conftest import Broker
from tests.factories import outcome, raw, step
from tests.streams.real import Process, by_address, letters, producing, remake_topics, send, trajectories

pytestmark = pytest.mark.kafka
MB = 1_000_000
BOMB = bytes(200 * MB)
PEAK_MB = 450
"""A worker that has read nothing takes about 110 MB, and one batch may take 64 MB three times over."""


@pytest.fixture
def broker(kafka_alone: Broker) -> str:
    asyncio.run(remake_topics(kafka_alone.bootstrap, 2))
    return kafka_alone.bootstrap


def _run(trajectory_id: str) -> list[bytes]:
    return [
        raw(step(trajectory_id, index, final=index == 2, outcome=outcome() if index == 2 else None))
        for index in range(3)
    ]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_bomb_is_one_dead_letter_without_its_bytes_and_the_worker_goes_on(broker: str, codec: str) -> None:
    asyncio.run(send(broker, *_run("before")))
    asyncio.run(send(broker, BOMB, compression_type=codec))
    asyncio.run(send(broker, *_run("after"), BOMB, compression_type=codec))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 2 and len(letters(broker)) == 2)
        peak = worker.peak_mb
    with Process(Role.STREAMS, broker) as worker:
        asyncio.run(send(broker, *_run("later")))
        worker.until(lambda: len(trajectories(broker)) == 3)
    print(f"{codec}: the worker's peak was {peak:.0f} MB")
    assert peak < PEAK_MB
    found = by_address(letters(broker)).values()
    assert {(one.reason, one.offset, one.value or b"", one.key) for one in found} == {
        (DeadLetterReason.TOO_LARGE, 3, b"", None),
        (DeadLetterReason.TOO_LARGE, 7, b"", None),
    }
    assert (
        "records 3 to 3 are one compressed batch that holds too much to be opened"
        in {one.offset: one.message for one in found}[3]
    )


def test_many_batches_just_under_the_bound_are_opened_one_by_one(broker: str) -> None:
    async def send_all() -> None:
        async with producing(broker, compression_type="zstd") as producer:
            for number in range(40):
                await producer.send_and_wait(TopicName.STEP_EVENTS, bytes(60 * MB), partition=number % 2)

    asyncio.run(send_all())
    asyncio.run(send(broker, *_run("after")))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1 and len(letters(broker)) == 40)
        print(f"2.4 GB in 40 batches: the worker's peak was {worker.peak_mb:.0f} MB")
        assert worker.peak_mb < PEAK_MB
    found = by_address(letters(broker)).values()
    assert {(one.reason, one.value or b"") for one in found} == {(DeadLetterReason.TOO_LARGE, b"")}
    assert all("60000000 bytes are too many for a dead letter and stay at its address" in one.message for one in found)


def test_a_batch_of_many_records_is_one_dead_letter_at_its_last_offset(broker: str) -> None:
    async def send_batch() -> None:
        async with producing(broker, compression_type="zstd", max_batch_size=100 * MB) as producer:
            batch = producer.create_batch()
            for number in range(9):
                assert batch.append(key=b"%d" % number, value=bytes(10 * MB), timestamp=None)
            batch.close()
            await (await producer.send_batch(batch, TopicName.STEP_EVENTS, partition=0))

    asyncio.run(send_batch())
    asyncio.run(send(broker, *_run("after")))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
    (letter,) = letters(broker)
    assert (letter.offset, letter.reason) == (8, DeadLetterReason.TOO_LARGE)
    assert "records 0 to 8 are one compressed batch" in letter.message


def test_a_bomb_that_its_sender_aborted_is_nothing(broker: str) -> None:
    async def abort() -> None:
        async with producing(broker, compression_type="zstd", transactional_id="bomber") as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(TopicName.STEP_EVENTS, BOMB, partition=0)
            await producer.abort_transaction()

    asyncio.run(abort())
    asyncio.run(send(broker, *_run("after")))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
    assert letters(broker) == []
