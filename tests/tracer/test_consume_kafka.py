"""What the tracer worker promises, on a real Kafka: slow, killed, poisoned, joined, left and told to stop."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import DeadLetterReason, RouteReason, Routing, Verdict, VerdictStatus
from schemas.errors import BrokerUnavailableError
from tests.tracer.bench import SOURCE, Bench
from tests.tracer.scripted import Scripted, noted
from tracer.consume import consume
from tracer.kafka import committed_progress
from tracer.progress import Commit, Known, encode
from tracer.settings import TracerSettings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


class Broker(Protocol):
    bootstrap: str


@pytest.fixture
async def bench(kafka: Broker, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, tmp_path / "notes")
    await bench.open()
    yield bench
    await bench.close()


def only(bench: Bench, trajectory_id: str) -> Verdict:
    (found,) = bench.verdicts[trajectory_id]
    return found[1]


async def until_noted(bench: Bench, count: int, event: str = "begin", timeout_s: float = 20.0) -> list[str]:
    async with asyncio.timeout(timeout_s):
        while len(found := noted(bench.notes, event)) < count:
            await asyncio.sleep(0.02)
    return found


async def test_every_trajectory_gets_one_verdict_at_its_own_partition_number(bench: Bench) -> None:
    ids = await bench.send(["", "sleep 0.1"] * 30)
    async with bench.worker():
        await bench.read(len(ids))
    await bench.read_all()
    partitions = [partition.partition for partition in bench.partitions]
    for number, trajectory_id in enumerate(ids):
        (found,) = bench.verdicts[trajectory_id]
        assert found[0] == partitions[number % len(partitions)]
        assert found[1].status is VerdictStatus.ATTRIBUTED
        assert found[1].event_id == f"{trajectory_id}-2"
        assert found[1].attempts == 1
    assert Counter(noted(bench.notes)) == Counter(ids)


async def test_what_is_finished_is_committed_and_the_log_says_nothing_is_left(bench: Bench) -> None:
    ids = await bench.send([""] * 8)
    async with bench.worker():
        await bench.read(len(ids))
    ends = await bench.group.end_offsets(bench.partitions)
    assert {partition: await bench.group.committed(partition) for partition in bench.partitions} == ends


async def test_a_committed_offset_is_read_back_with_its_metadata(bench: Bench) -> None:
    first, *rest = bench.partitions
    metadata = encode(5, Known(9, {5: 1, 7: 2}))
    await bench.group.commit({first: (5, metadata)})
    found = await committed_progress(bench.group, [first, TopicPartition(SOURCE.value, 10_000)])
    assert found == {first: Commit(5, metadata)}
    assert rest


async def test_a_verdict_that_takes_longer_than_the_session_and_the_poll_interval_is_made_once(bench: Bench) -> None:
    ids = await bench.send(["sleep 7"] * 2 + [""] * 3)
    async with bench.worker(max_poll_interval_ms=1_500, tracer_window=1, tracer_concurrency=2):
        await bench.read(len(ids))
    await bench.read_all()
    assert Counter(noted(bench.notes)) == Counter(ids)
    assert {only(bench, trajectory_id).attempts for trajectory_id in ids} == {1}
    assert only(bench, ids[0]).traced_ms >= 7_000


async def test_after_a_kill_only_what_was_in_flight_is_traced_again(bench: Bench) -> None:
    slow = await bench.send(["sleep 1.5"])
    quick = await bench.send([""] * 12, partition=bench.partitions[0].partition)
    worker = await bench.process(instance_id=bench.name)
    await until_noted(bench, len(quick), "end")
    await bench.read(len(quick))
    await asyncio.sleep(0.3)  # the commit that follows the last verdict
    worker.kill()
    await worker.wait()
    assert set(noted(bench.notes, "end")) == set(quick)
    more = await bench.send([""] * 4)
    worker = await bench.process(instance_id=bench.name)
    await bench.read(1 + len(quick) + len(more))
    worker.terminate()
    assert await worker.wait() == 0
    await bench.read_all()
    assert Counter(noted(bench.notes)) == Counter(slow * 2 + quick + more)
    assert only(bench, slow[0]).attempts == 2
    assert {only(bench, trajectory_id).attempts for trajectory_id in quick + more} == {1}


async def test_what_kills_its_worker_three_times_is_abstained_on_and_the_others_go_on(bench: Bench) -> None:
    beside = await bench.send(["sleep 0.3"] * 3)
    (poison,) = await bench.send(["exit"])
    after = await bench.send([""] * 3)
    for _ in range(3):
        worker = await bench.process(instance_id=bench.name)
        assert await worker.wait() == 9
    worker = await bench.process(instance_id=bench.name)
    ids = [*beside, poison, *after]
    await bench.read(len(ids))
    worker.terminate()
    assert await worker.wait() == 0
    found = only(bench, poison)
    assert (found.status, found.reason, found.attempts) == (VerdictStatus.ABSTAINED, "crashed", 3)
    assert {only(bench, trajectory_id).status for trajectory_id in beside + after} == {VerdictStatus.ATTRIBUTED}
    assert Counter(noted(bench.notes))[poison] == 3


async def test_workers_join_and_leave_and_nothing_is_traced_twice(bench: Bench) -> None:
    quick = {"tracer_concurrency": 4, "tracer_window": 4}
    ids = await bench.send(["sleep 0.2"] * 40)
    async with bench.worker(**quick):
        await until_noted(bench, 8)
        async with bench.worker(**quick):
            ids += await bench.send(["sleep 0.2"] * 40)
            await until_noted(bench, 50)
        await bench.read(len(ids))
    await bench.read_all()
    assert {trajectory_id: len(found) for trajectory_id, found in bench.verdicts.items()} == dict.fromkeys(ids, 1)
    assert {only(bench, trajectory_id).attempts for trajectory_id in ids} == {1}


async def test_a_frozen_worker_that_wakes_up_leaves_alone_what_others_took_over(bench: Bench) -> None:
    at = bench.partitions[0].partition
    slow = await bench.send(["sleep 2"], partition=at)
    frozen = await bench.process()
    await until_noted(bench, 1)
    frozen.send_signal(signal.SIGSTOP)
    async with bench.worker():
        await bench.read(1)
        frozen.send_signal(signal.SIGCONT)
        more = await bench.send([""] * 8)
        await bench.read(1 + len(more))
        await bench.read_all()
        frozen.terminate()
        assert await frozen.wait() == 0
    assert Counter(noted(bench.notes)) == Counter(slow * 2 + more)
    assert only(bench, slow[0]).attempts == 2
    assert {only(bench, trajectory_id).attempts for trajectory_id in more} == {1}


async def test_work_of_a_partition_that_stays_goes_on_through_a_rebalance(bench: Bench) -> None:
    ids = await bench.send(["sleep 4"] * len(bench.partitions))
    async with bench.worker():
        await until_noted(bench, len(ids))
        async with bench.worker():
            await bench.read(len(ids))
    began = Counter(noted(bench.notes))
    assert set(began) == set(ids)
    assert sorted(began.values()) == [1] * (len(ids) // 2) + [2] * (len(ids) - len(ids) // 2)
    assert {only(bench, trajectory_id).attempts for trajectory_id in ids} == {1}


async def test_a_worker_that_is_told_to_stop_finishes_what_is_in_work_and_takes_nothing_new(bench: Bench) -> None:
    ids = await bench.send(["sleep 1"] * 6, partition=bench.partitions[0].partition)
    worker = await bench.process(tracer_concurrency=2)
    await until_noted(bench, 2)
    worker.send_signal(signal.SIGTERM)
    assert await worker.wait() == 0
    await bench.read_all()
    assert sorted(bench.verdicts) == ids[4:]
    assert sorted(noted(bench.notes)) == ids[4:]
    found = await committed_progress(bench.group, bench.partitions[:1])
    (end,) = (await bench.group.end_offsets(bench.partitions[:1])).values()
    left = Known(end, dict.fromkeys(range(end - 6, end - 2), 0))
    assert found[bench.partitions[0]] == Commit(end - 6, encode(end - 6, left))


async def test_content_that_was_let_go_of_is_read_again_and_nothing_is_lost_or_traced_twice(bench: Bench) -> None:
    ids = await bench.send(["answer"] * 12, partition=bench.partitions[0].partition)
    async with bench.worker(tracer_concurrency=2, tracer_window_bytes=1_000):
        await bench.read(len(ids))
    assert sorted(bench.verdicts) == sorted(ids)
    assert not bench.letters
    assert {only(bench, trajectory_id).status for trajectory_id in ids} == {VerdictStatus.ATTRIBUTED}


async def test_what_waited_too_long_gets_a_cheap_verdict_beside_what_is_in_work(bench: Bench) -> None:
    ids = await bench.send(["sleep 3"] * 6, partition=bench.partitions[0].partition)
    async with bench.worker(tracer_concurrency=1, tracer_wait_s=1.5, tracer_overdue="shed"):
        await bench.read(len(ids))
    found = Counter(only(bench, trajectory_id).status for trajectory_id in ids)
    assert found[VerdictStatus.SHED] >= 4
    assert found[VerdictStatus.ATTRIBUTED] == len(ids) - found[VerdictStatus.SHED]


async def test_what_does_not_end_within_the_drain_timeout_is_handed_back_without_its_attempt(bench: Bench) -> None:
    (slow,) = await bench.send(["sleep 3"])
    async with bench.worker(drain_timeout_s=0.1):
        await until_noted(bench, 1)
    assert noted(bench.notes, "end") == []
    async with bench.worker():
        await bench.read(1)
    assert only(bench, slow).attempts == 1


async def test_what_is_over_budget_or_raises_or_takes_too_long_gets_a_verdict_too(bench: Bench) -> None:
    budget = Routing(reason=RouteReason.FAILURE, over_budget=True)
    (over,) = await bench.send([""], routing=budget)
    raising, hanging = await bench.send(["raise", "sleep 30"])
    async with bench.worker(trace_timeout_s=0.5):
        await bench.read(3)
    found = {trajectory_id: only(bench, trajectory_id) for trajectory_id in (over, raising, hanging)}
    assert [(one.status, one.reason, one.attempts) for one in found.values()] == [
        (VerdictStatus.ABSTAINED, "budget", 0),
        (VerdictStatus.ABSTAINED, "failed: ConnectionResetError", 3),
        (VerdictStatus.OVERLONG, "timeout", 1),
    ]
    assert Counter(noted(bench.notes)) == {raising: 3, hanging: 1}


async def test_what_is_no_trajectory_becomes_a_dead_letter_with_its_bytes_and_the_rest_goes_on(bench: Bench) -> None:
    at = bench.partitions[0].partition
    offsets = [await bench.send_bytes(value, key=bench.key, partition=at) for value in (b"{}", b"\xff\x00", None)]
    (good,) = await bench.send([""], partition=at)
    async with bench.worker():
        await bench.read(1, letters=3)
    bench.letters.sort(key=lambda letter: letter.offset)
    assert [letter.value for letter in bench.letters] == [b"{}", b"\xff\x00", None]
    assert [(letter.topic, letter.partition, letter.offset) for letter in bench.letters] == [
        (SOURCE.value, at, offset) for offset in offsets
    ]
    assert {letter.reason for letter in bench.letters} == {DeadLetterReason.UNTRACEABLE}
    assert only(bench, good).status is VerdictStatus.ATTRIBUTED


async def test_a_trajectory_as_large_as_its_topic_takes_is_traced(bench: Bench) -> None:
    (large,) = await bench.send([""], outcome_at=None, truncations=tuple(f"{n:0>250}" for n in range(90_000)))
    async with bench.worker():
        await bench.read(1)
    assert only(bench, large).status is VerdictStatus.ATTRIBUTED


async def test_a_commit_with_foreign_metadata_counts_as_an_offset_alone(bench: Bench) -> None:
    first = bench.partitions[0]
    (end,) = (await bench.group.end_offsets([first])).values()
    await bench.group.commit({first: (end, "another tool was here")})
    ids = await bench.send([""] * 2, partition=first.partition)
    async with bench.worker():
        await bench.read(len(ids))
    assert Counter(noted(bench.notes)) == Counter(ids)


async def test_without_a_broker_the_worker_says_so_in_one_sentence(tmp_path: Path) -> None:
    settings = TracerSettings(bootstrap="127.0.0.1:1", start_timeout_s=2)
    with pytest.raises(BrokerUnavailableError, match=r"no broker answers at '127.0.0.1:1'; start it or set AGENTRACER"):
        await consume(settings, Scripted(tmp_path / "notes"), asyncio.Event())


async def test_a_consumer_takes_progress_back_only_from_its_own_group(bench: Bench) -> None:
    other = AIOKafkaConsumer(bootstrap_servers=bench.bootstrap, group_id=bench.name + "-other")
    await other.start()
    try:
        assert await committed_progress(other, bench.partitions) == {}
    finally:
        await other.stop()
