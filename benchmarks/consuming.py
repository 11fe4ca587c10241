"""The tracer's consumer for a benchmark: from the first attempt that it begins to the last verdict on the topic.

Rules: the consumer is the real one, with its default settings but for what a benchmark names; each measurement has a
group of its own, so it reads the topic from its beginning.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from benchmarks.sampler import Sampler
from schemas.health import Health
from schemas.metrics import Metric, Unmetered
from tracer.consume import consume
from tracer.protocol import Tracer
from tracer.settings import TracerSettings

LONGEST_S = 600.0


class Watch(Unmetered):
    """The consumer's own metrics, which end it when everything has a verdict."""

    def __init__(self, verdicts: int, sampler: Sampler | None = None) -> None:
        self.stop = asyncio.Event()
        self.statuses: Counter[str] = Counter()
        self.began: float | None = None
        self.ended: float | None = None
        self._left, self._sampler = verdicts, sampler

    @property
    def seconds(self) -> float:
        """From the first attempt to the last verdict; raises RuntimeError where that did not come."""
        if self.began is None or self.ended is None:
            raise RuntimeError(f"{self._left} verdicts did not come; those that did: {dict(self.statuses)}")
        return self.ended - self.began

    def count(self, name: Metric, n: float = 1, /, **labels: object) -> None:
        """See whether that was the first attempt, or the last verdict."""
        if name is Metric.TRACER_ATTEMPTS and self.began is None:
            self.began = time.perf_counter()
            if self._sampler is not None:
                self._sampler.start()
        if name is Metric.TRACER_VERDICTS:
            self.statuses[str(labels["status"])] += 1
            self._left -= round(n)
        if name is Metric.TRACER_DEAD_LETTERS or (not self._left and self.ended is None):
            self._end(is_whole=not self._left)

    def _end(self, *, is_whole: bool) -> None:
        if is_whole:
            self.ended = time.perf_counter()
        if self._sampler is not None:
            self._sampler.stop()
        self.stop.set()


class Consumer:
    """One consumer under way, for an `async with` block; at its end everything has a verdict."""

    def __init__(self, bootstrap: str, tracer: Tracer, watch: Watch, **settings: Any) -> None:
        named = {"bootstrap": bootstrap, "tracer_group": f"bench-{time.time_ns()}"}
        self._settings = TracerSettings(**named | settings)
        self._tracer, self._watch = tracer, watch
        self._health = Health()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        work = consume(self._settings, self._tracer, self._watch.stop, metrics=self._watch, health=self._health)
        self._task = asyncio.create_task(work)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._task is not None
        if kind is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            return
        async with asyncio.timeout(LONGEST_S):
            await self._task

    async def ready(self) -> None:
        """Wait until it has its partitions."""
        await self.until(lambda: self._health.not_ready() is None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the consumer does."""
        assert self._task is not None
        async with asyncio.timeout(LONGEST_S):
            while not condition():
                if self._task.done():
                    self._task.result()
                    raise RuntimeError("the consumer ended before it was done")
                await asyncio.sleep(0.01)
