"""Whatever a sender may write: each event is in a trajectory or a dead letter, and a worker that read it goes on."""

import asyncio
import base64
import random
import struct
from collections.abc import Callable

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.record.util import calc_crc32c

from ops.roles import Role
from schemas import CloseReason, DeadLetterReason, TopicName
from streams.home import home_partition
from tests.conftest import Broker
from tests.factories import outcome, raw, step
from tests.streams.real import Process, Sent, by_address, letters, producing, remake_topics, send, trajectories

pytestmark = pytest.mark.kafka
PARTITIONS = 2
HOME = "a"
IDLE_MS = 2_000
QUICK = {"AGENTRACER_LIMITS__IDLE_MS": str(IDLE_MS)}


@pytest.fixture
def broker(kafka_alone: Broker) -> str:
    asyncio.run(remake_topics(kafka_alone.bootstrap, PARTITIONS))
    return kafka_alone.bootstrap


def _at_home(name: str, partition: int = 0) -> str:
    """Return an id at home in a partition."""
    return next(
        one for one in (f"{name}-{number}" for number in range(50)) if home_partition(one, PARTITIONS) == partition
    )


def _run(trajectory_id: str, steps: int = 3) -> list[bytes]:
    last = steps - 1
    return [
        raw(step(trajectory_id, index, final=index == last, outcome=outcome() if index == last else None))
        for index in range(steps)
    ]


def test_values_keys_and_headers_of_every_odd_kind(broker: str) -> None:
    fine = _at_home("fine")
    first, second, third = _run(fine)
    batch = b"\n".join(_run(_at_home("batch")))
    ndjson = b"application/x-ndjson; charset=utf-8"
    odd = [
        Sent(None, key=b"tombstone"),
        Sent(b"", key=None),
        Sent(b" \n\t", key=b"\xff\xfe"),
        Sent(first, key=None),
        Sent(second, key=b""),
        Sent(third, key=b"\x00\xff" * 1_000, headers=(("content-type", None), ("", b""), ("ü" * 100, b"\xff"))),
        Sent(batch, headers=(("Content-Type", ndjson), ("content-type", None))),
        Sent(batch, headers=(("content-type", b"\xff\xfe/x-ndjson"),)),
        Sent(b"\xff", headers=tuple(("x", b"y") for _ in range(5_000))),
        Sent(b"{", headers=(("agentracer.unopened", b""), ("agentracer.forwarded", b"999"))),
    ]
    asyncio.run(send(broker, *odd))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 2 and len(letters(broker)) == 6)
    assert sorted((one.trajectory_id, len(one.steps)) for one in trajectories(broker)) == [
        (_at_home("batch"), 3),
        (fine, 3),
    ]
    found = {one.offset: (one.reason, one.key, one.value or None) for one in by_address(letters(broker)).values()}
    assert found == {
        0: (DeadLetterReason.EMPTY, b"tombstone", None),
        1: (DeadLetterReason.EMPTY, None, None),
        2: (DeadLetterReason.EMPTY, b"\xff\xfe", b" \n\t"),
        7: (DeadLetterReason.NOT_JSON, None, batch),
        8: (DeadLetterReason.NOT_UTF8, None, b"\xff"),
        9: (DeadLetterReason.NOT_JSON, None, b"{"),
    }


def test_a_header_whose_name_no_client_can_read_is_a_dead_letter_for_the_rest_of_its_batch(broker: str) -> None:
    async def send_batch() -> None:
        async with producing(broker) as producer:
            batch = producer.create_batch()
            for value in (*_run(_at_home("before")), b"bad", b"lost with it"):
                headers = [("ZZ", b"x")] if value == b"bad" else []
                batch.append(key=None, value=value, timestamp=None, headers=headers)
            built = bytearray(batch._build())
            at = built.index(b"ZZ")
            built[at : at + 2] = b"\xff\xfe"
            struct.pack_into(">I", built, 17, calc_crc32c(bytes(built[21:])))
            batch._buffer = bytes(built)
            await (await producer.send_batch(batch, TopicName.STEP_EVENTS, partition=0))

    asyncio.run(send_batch())
    asyncio.run(send(broker, *_run(_at_home("after"))))
    for _ in range(2):
        with Process(Role.STREAMS, broker) as worker:
            worker.until(lambda: len(trajectories(broker)) == 2)
    (letter,) = letters(broker)
    assert (letter.reason, letter.offset) == (DeadLetterReason.UNPROCESSABLE, 4)
    assert letter.message == "records 3 to 4 are not as Kafka has them; look at their headers' names"


def test_a_schema_from_the_future_is_a_dead_letter_with_its_bytes(broker: str) -> None:
    future = raw(step(_at_home("t"))).replace(b"{", b'{"schema_version":2,"mood":"good",', 1)
    asyncio.run(send(broker, future, *_run(_at_home("after"))))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
    (letter,) = letters(broker)
    assert (letter.reason, letter.value) == (DeadLetterReason.UNKNOWN_VERSION, future)
    assert "schema_version 2 is not known here (this worker reads 1); upgrade it" in letter.message


# ---- senders with transactions ----


def test_after_an_aborted_transaction_at_the_end_of_the_log_time_still_passes(broker: str) -> None:
    idle = _at_home("idle")

    async def feed() -> None:
        await send(broker, raw(step(idle, 0)), raw(step(idle, 1)))
        async with producing(broker, transactional_id="sender") as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(TopicName.STEP_EVENTS, raw(step(idle, 2)), partition=0)
            await producer.abort_transaction()

    asyncio.run(feed())
    with Process(Role.STREAMS, broker, **QUICK) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
    (found,) = trajectories(broker)
    assert (found.close_reason, len(found.steps), found.revision) == (CloseReason.IDLE, 2, 1)
    assert letters(broker) == []


@pytest.mark.parametrize("commits", [True, False], ids=["commits", "aborts"])
def test_what_waits_behind_a_transaction_that_hangs_closes_nothing_early(broker: str, *, commits: bool) -> None:
    held = _at_home("held")

    async def feed() -> None:
        await send(broker, raw(step(held, 0)))
        async with producing(broker, transactional_id="hangs") as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(TopicName.STEP_EVENTS, raw(step(held, 1)), partition=0)
            await send(broker, raw(step(held, 2)))
            await asyncio.sleep(2.5 * IDLE_MS / 1000)
            assert await _published(broker) == 0, "closed although an acknowledged step of it waits"
            await (producer.commit_transaction() if commits else producer.abort_transaction())

    with Process(Role.STREAMS, broker, **QUICK) as worker:
        worker.until(lambda: "partition restored" in worker.said)
        asyncio.run(feed())
        worker.until(lambda: len(trajectories(broker)) == 1)
    (found,) = trajectories(broker)
    assert (found.revision, found.close_reason) == (1, CloseReason.IDLE)
    assert [one.step_index for one in found.steps] == ([0, 1, 2] if commits else [0, 2])


async def _published(broker: str) -> int:
    return len(await asyncio.to_thread(trajectories, broker))


# ---- sizes ----

LIMIT = 16_000_000
TOPIC_BYTES = 24_000_000


def _filled(make: Callable[[str], bytes], size: int) -> bytes:
    """Return an event of exactly this size, of text that does not compress."""
    room = size - len(make("x")) + 1
    return make(base64.b64encode(random.Random(size).randbytes(room * 3 // 4 + 3)).decode()[:room])


def _sized(trajectory_id: str, size: int, index: int = 0) -> bytes:
    return _filled(lambda text: raw(step(trajectory_id, index, content=text, final=True)), size)


def _cut(trajectory_id: str, index: int, size: int) -> bytes:
    return _filled(lambda text: raw(step(trajectory_id, index, content=text, truncated=True)), size)


def test_the_topic_takes_24_megabytes_and_not_one_more(broker: str) -> None:
    async def overhead() -> int:
        async with producing(broker, max_batch_size=40_000_000) as producer:
            batch = producer.create_batch()
            batch.append(key=None, value=bytes(23_000_000), timestamp=None)
            return int(batch.size()) - 23_000_000

    most = TOPIC_BYTES - asyncio.run(overhead())
    largest = base64.b64encode(random.Random(1).randbytes(most))[:most]
    asyncio.run(send(broker, largest))
    with pytest.raises(MessageSizeTooLargeError):
        asyncio.run(send(broker, largest + b"x"))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(letters(broker)) == 1)
    (letter,) = letters(broker)
    assert (letter.reason, letter.value) == (DeadLetterReason.TOO_LARGE, largest)


def test_an_event_of_exactly_the_limit_is_a_trajectory_and_one_byte_more_is_too_large_wherever_it_is(
    broker: str,
) -> None:
    at_limit, over = _at_home("limit"), _at_home("over")
    stray, largest = _at_home("stray", 1), _at_home("largest", 1)
    sent = {
        0: _sized(at_limit, LIMIT),
        1: _sized(over, LIMIT + 1),
        2: _sized(stray, LIMIT + 1),
        3: _sized(largest, TOPIC_BYTES - 1_000),
    }
    asyncio.run(send(broker, *sent.values()))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(letters(broker)) == 3 and len(trajectories(broker)) == 1)
    (found,) = trajectories(broker)
    assert (found.trajectory_id, found.close_reason) == (at_limit, CloseReason.COMPLETED)
    assert raw(found.steps[0]) == sent[0]
    by = {one.offset: one for one in by_address(letters(broker)).values()}
    assert {one.reason for one in by.values()} == {DeadLetterReason.TOO_LARGE}
    assert {offset: one.value for offset, one in by.items()} == {offset: sent[offset] for offset in (1, 2, 3)}


def test_an_event_just_under_the_limit_finds_its_home(broker: str) -> None:
    stray = _at_home("stray", 1)
    asyncio.run(send(broker, _sized(stray, LIMIT)))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
    assert letters(broker) == []


@pytest.mark.parametrize("where", ["task", "reason", "ground_truth"])
def test_a_long_text_that_the_head_of_a_trajectory_repeats_still_fits_the_topic(broker: str, where: str) -> None:
    home = _at_home("t")

    def long(text: str) -> bytes:
        said = outcome().model_copy(update={where: text})
        return raw(step(home, 0, final=True, **({"task": text} if where == "task" else {"outcome": said})))

    event = _filled(long, LIMIT)
    asyncio.run(send(broker, event, *_run(_at_home("after"))))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 2)
    assert letters(broker) == []
    (found,) = (one for one in trajectories(broker) if one.trajectory_id == home)
    head = getattr(found if where == "task" else found.outcome, where)
    assert len(head) == 250_000
    assert head.endswith("…")
    assert raw(found.steps[0]) == event, "the step has it whole"


def test_large_records_of_all_partitions_at_once_all_arrive(broker: str) -> None:
    sent = {
        f"{partition}/{number}": Sent(_sized(_at_home(f"l{number}", partition), 9_000_000), partition)
        for partition in range(PARTITIONS)
        for number in range(6)
    }
    asyncio.run(send(broker, *sent.values()))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == len(sent))
    assert {raw(one.steps[0]) for one in trajectories(broker)} == {one.value for one in sent.values()}
    assert letters(broker) == []


def test_ten_thousand_steps_of_exactly_the_limit_are_one_trajectory(broker: str) -> None:
    home, count, limit = _at_home("many"), 10_000, 20_000_000
    events = [_cut(home, index, limit // count) for index in range(count)]
    assert sum(map(len, events)) == limit
    asyncio.run(send(broker, *events, raw(step(home, count))))
    with Process(Role.STREAMS, broker, AGENTRACER_LIMITS__MAX_BYTES=str(limit)) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
    (found,) = trajectories(broker)
    assert (len(found.steps), found.close_reason) == (count, CloseReason.TOO_LONG)
    (letter,) = letters(broker)
    assert (letter.reason, letter.value) == (DeadLetterReason.OVER_LIMIT, raw(step(home, count)))
