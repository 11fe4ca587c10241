"""The works under way: what they wait for, and how they end."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas import DeadLetter, Verdict
from tests.factories import trajectory
from tests.tracer.scripted import Scripted, noted
from tracer.commits import Commits
from tracer.progress import Commit, Progress
from tracer.settings import TracerSettings
from tracer.trace import Judge
from tracer.window import Record, Waits, Window, Work
from tracer.work import Works

pytestmark = pytest.mark.timeout(10)


class Still:
    """A clock that stands."""

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class Bed:
    """A worker without a broker: commits are let through by `takes`, answers end up in `sent`."""

    def __init__(self, tmp_path: Path) -> None:
        self.notes = tmp_path / "notes"
        self.sent: list[str] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self.delivers = asyncio.Event()
        self.delivers.set()
        self.window = Window(concurrency=4, records=10, size=10**6, attempts=3, waits=Waits(10**6))
        self.window.assign(0, Progress(Commit(0, "")))
        self.commits = Commits(self.window.partitions, self.commit, Still().monotonic, fresh_s=5.0)
        self.commits.own()
        judge = Judge(Scripted(self.notes), TracerSettings(), Still())
        self.works = Works(self.window, self.commits, judge, self.send, self.read, self.next, lambda: 0)

    def next(self) -> None:
        self.works.start()

    async def commit(self, _: Mapping[int, Commit]) -> bool:
        await self.takes.wait()
        return True

    async def read(self, record: Record) -> Record:
        return record

    async def send(self, _: Work, answer: Verdict | DeadLetter) -> None:
        await self.delivers.wait()
        assert isinstance(answer, Verdict)
        self.sent.append(answer.trajectory_id)

    def take(self, *tasks: str) -> None:
        for offset, task in enumerate(tasks):
            one = trajectory(trajectory_id=f"t{offset}", task=task)
            self.window.take([Record(0, offset, 0, None, one.model_dump_json().encode())])

    async def until(self, count: int) -> None:
        while len(self.sent) < count:
            await asyncio.sleep(0.001)


async def some_time() -> None:
    await asyncio.sleep(0.02)


async def test_a_trace_begins_only_when_its_attempt_is_committed(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    async with bed.works.group as group:
        committing = group.create_task(bed.commits.run())
        bed.takes.clear()
        bed.take("")
        bed.works.start()
        await some_time()
        assert noted(bed.notes) == []
        bed.takes.set()
        await bed.until(1)
        committing.cancel()


async def test_an_answer_waits_while_the_partition_is_not_ours(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    async with bed.works.group as group:
        committing = group.create_task(bed.commits.run())
        bed.take("sleep 0.01")
        bed.works.start()
        while not noted(bed.notes):
            await asyncio.sleep(0.001)
        bed.commits.disown()
        await some_time()
        assert (noted(bed.notes, "end"), bed.sent) == (["t0"], [])
        bed.commits.own()
        await bed.until(1)
        committing.cancel()


async def test_after_each_answer_the_next_work_starts(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    async with bed.works.group as group:
        committing = group.create_task(bed.commits.run())
        bed.take(*[""] * 9)
        bed.works.start()
        assert len(bed.works) == 4
        await bed.until(9)
        await some_time()
        assert len(bed.works) == 0
        committing.cancel()
    assert bed.window.partitions[0].commit() == Commit(9, "")


async def test_a_work_whose_partition_went_sends_nothing(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    async with bed.works.group as group:
        committing = group.create_task(bed.commits.run())
        bed.take("sleep 0.02")
        bed.works.start()
        await asyncio.sleep(0.005)
        bed.works.cancel(bed.window.drop(0))
        await asyncio.sleep(0.04)
        assert len(bed.works) == 0
        committing.cancel()
    assert bed.sent == []


async def test_draining_waits_for_what_ends_in_time_and_stops_the_rest(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    async with bed.works.group as group:
        committing = group.create_task(bed.commits.run())
        bed.take("sleep 0.01", "sleep 60")
        bed.works.start()
        await bed.works.drain(0.1)
        await bed.works.answered(1)
        committing.cancel()
    assert bed.sent == ["t0"]


async def test_an_answer_that_nobody_takes_does_not_hold_the_end_up(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.delivers.clear()
    async with bed.works.group as group:
        committing = group.create_task(bed.commits.run())
        bed.take("")
        bed.works.start()
        await bed.works.drain(1)
        await bed.works.answered(0.05)
        bed.works.abandon()
        committing.cancel()
    assert bed.sent == []
