"""Who waits for a commit, what is in it, and what a refusal does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest

from tracer.commits import Commits
from tracer.progress import Commit, Known, Progress, encode

pytestmark = pytest.mark.timeout(10)


class Wire:
    """The broker's side: takes or refuses commits, and can hold one back."""

    def __init__(self) -> None:
        self.sent: list[dict[int, Commit]] = []
        self.takes = True
        self.open = asyncio.Event()
        self.open.set()
        self.seconds = 100.0

    async def send(self, commits: Mapping[int, Commit]) -> bool:
        self.sent.append(dict(commits))
        await self.open.wait()
        return self.takes


class Bed:
    def __init__(self) -> None:
        self.wire = Wire()
        self.progress = Progress(Commit(0, ""))
        self.commits = Commits({0: self.progress}, self.wire.send, lambda: self.wire.seconds, fresh_s=5.0)
        self.commits.standing[0] = Commit(0, "")

    def begin(self, offset: int) -> None:
        self.progress.take(offset)
        self.progress.begin(offset)

    async def waits(self, work: asyncio.Task[None]) -> bool:
        for _ in range(20):
            await asyncio.sleep(0)
        return not work.done()


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    bed = Bed()
    bed.commits.own()
    running = asyncio.create_task(bed.commits.run())
    await asyncio.sleep(0)
    yield bed
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def in_work(*offsets: int) -> Commit:
    return Commit(offsets[0], encode(offsets[0], Known(offsets[-1] + 1, dict.fromkeys(offsets, 1))))


async def test_work_waits_until_its_attempt_is_on_the_broker(bed: Bed) -> None:
    bed.wire.open.clear()
    bed.begin(0)
    work = asyncio.create_task(bed.commits.settle())
    assert await bed.waits(work)
    bed.wire.open.set()
    await work
    assert bed.wire.sent == [{0: in_work(0)}]
    assert bed.commits.standing == {0: in_work(0)}


async def test_all_that_came_meanwhile_shares_the_next_commit(bed: Bed) -> None:
    bed.wire.open.clear()
    bed.begin(0)
    first = asyncio.create_task(bed.commits.settle())
    assert await bed.waits(first)
    works = []
    for offset in (1, 2, 3):
        bed.begin(offset)
        works.append(asyncio.create_task(bed.commits.settle()))
    await asyncio.sleep(0)
    bed.wire.open.set()
    await asyncio.gather(first, *works)
    assert bed.wire.sent == [{0: in_work(0)}, {0: in_work(0, 1, 2, 3)}]


async def test_what_has_not_changed_is_not_sent_again(bed: Bed) -> None:
    await bed.commits.settle()
    assert bed.wire.sent == []


async def test_nothing_is_committed_while_the_partitions_are_not_ours(bed: Bed) -> None:
    assert bed.commits.disown()
    bed.begin(0)
    work = asyncio.create_task(bed.commits.settle())
    assert await bed.waits(work)
    assert bed.wire.sent == []
    bed.commits.own()
    await work
    assert bed.wire.sent == [{0: in_work(0)}]


async def test_a_refused_commit_ends_the_ownership_and_is_sent_again_with_the_next(bed: Bed) -> None:
    bed.wire.takes = False
    bed.begin(0)
    work = asyncio.create_task(bed.commits.settle())
    assert await bed.waits(work)
    assert not bed.commits.owned
    assert bed.commits.standing == {0: Commit(0, "")}
    bed.wire.takes = True
    bed.commits.own()
    await work
    assert bed.wire.sent == [{0: in_work(0)}] * 2


async def test_a_hand_back_leaves_the_attempts_under_way_out(bed: Bed) -> None:
    bed.begin(0)
    await bed.commits.settle()
    bed.commits.disown()
    await bed.commits.hand_back()
    assert bed.wire.sent[-1] == {0: Commit(0, encode(0, Known(1, {0: 0})))}


async def test_a_hand_back_comes_after_the_commit_that_is_on_its_way(bed: Bed) -> None:
    bed.wire.open.clear()
    bed.begin(0)
    work = asyncio.create_task(bed.commits.settle())
    assert await bed.waits(work)
    bed.progress.finish(0)
    bed.commits.disown()
    last = asyncio.create_task(bed.commits.hand_back())
    assert await bed.waits(last)
    assert bed.wire.sent == [{0: in_work(0)}]
    bed.wire.open.set()
    await last
    assert bed.wire.sent == [{0: in_work(0)}, {0: Commit(1, "")}]


async def test_after_a_silence_the_broker_is_asked_whether_we_are_still_its_member(bed: Bed) -> None:
    await bed.commits.sure()
    assert bed.wire.sent == []
    bed.wire.seconds += 5
    await bed.commits.sure()
    assert bed.wire.sent == [{0: Commit(0, "")}]


async def test_whoever_is_no_member_any_more_is_not_sure_until_it_is_again(bed: Bed) -> None:
    bed.wire.seconds += 60
    bed.wire.takes = False
    work = asyncio.create_task(bed.commits.sure())
    assert await bed.waits(work)
    assert not bed.commits.owned
    bed.wire.takes = True
    bed.commits.own()
    await work


async def test_who_gave_up_waiting_does_not_disturb_the_others(bed: Bed) -> None:
    bed.wire.open.clear()
    bed.begin(0)
    gone, stays = (asyncio.create_task(bed.commits.settle()) for _ in range(2))
    assert await bed.waits(stays)
    gone.cancel()
    bed.wire.open.set()
    await stays
    assert gone.cancelled()
