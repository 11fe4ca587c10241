"""The works under way, one task each: from an attempt that is safe to an answer that is sent.

Rules: no Kafka in here; a work waits for its attempt's commit before it is judged, and for the certainty that its
partition is still ours before its answer is sent; what is being sent is never cancelled with its work, only at
the very end; a work whose partition went is cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from schemas import DeadLetter, Verdict
from schemas.metrics import UNMETERED, Metric, Metrics

from .commits import Commits
from .trace import Judge
from .window import Record, Window, Work

Send = Callable[[Work, Verdict | DeadLetter], Awaitable[None]]
"""Sends an answer, and returns when the broker has it."""
Read = Callable[[Record], Awaitable[Record]]
"""Reads a record again by its offset, content and all; without a value where the broker no longer has it."""


class Works:
    """The tasks of one worker; `done` is called after each answer, when something else may start."""

    def __init__(
        self,
        window: Window,
        commits: Commits,
        judge: Judge,
        send: Send,
        read: Read,
        done: Callable[[], None],
        now_ms: Callable[[], int],
        metrics: Metrics = UNMETERED,
    ) -> None:
        self._window = window
        self._metrics = metrics
        self._commits = commits
        self._judge = judge
        self._send = send
        self._read = read
        self._done = done
        self._now_ms = now_ms
        self._tasks: dict[Work, asyncio.Task[None]] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self.group = asyncio.TaskGroup()
        """Whoever runs the worker enters it; an error in any task ends it."""

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self) -> None:
        """Start whatever may start."""
        for work in self._window.start(self._now_ms()):
            self._metrics.count(Metric.TRACER_ATTEMPTS)
            task = self.group.create_task(self._run(work))
            self._tasks[work] = task
            task.add_done_callback(partial(self._forget, work))

    def cancel(self, works: Iterable[Work]) -> None:
        """Stop works whose partition went."""
        for work in works:
            if work in self._tasks:
                self._tasks[work].cancel()

    async def answered(self, timeout_s: float) -> None:
        """Wait until what is being sent is sent, or it takes too long."""
        if self._answers:
            await asyncio.wait(self._answers, timeout=timeout_s)

    async def drain(self, timeout_s: float) -> None:
        """Let the works end, and stop those that take too long; their answers may still be on their way."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=timeout_s)
        self.cancel(list(self._tasks))

    def abandon(self) -> None:
        """Stop waiting for answers that the broker does not take."""
        for answer in self._answers:
            answer.cancel()

    async def _run(self, work: Work) -> None:
        await self._commits.settle()
        if work.is_dropped:
            self._window.read_again(work, await self._read(work.record))
        answer = await self._judge.judge(work.record, work.attempt, partial(self._again, work), is_shed=work.is_shed)
        await self._commits.sure()
        task = self.group.create_task(self._answer(work, answer))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _again(self, work: Work) -> int:
        self._window.begin(work)
        self._metrics.count(Metric.TRACER_ATTEMPTS)
        await self._commits.settle()
        return work.attempt

    async def _answer(self, work: Work, answer: Verdict | DeadLetter) -> None:
        await self._send(work, answer)
        self._window.finish(work)
        self._commits.want()
        self._done()

    def _forget(self, work: Work, _: asyncio.Task[None]) -> None:
        self._tasks.pop(work, None)
