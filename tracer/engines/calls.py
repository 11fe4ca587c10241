"""The requests that are under way in one engine, so that stopping it fails them all and leaves none waiting.

Rules: whoever cancels its own request gets the CancelledError; whoever waits when the engine stops gets an EngineError.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from schemas.errors import EngineError

T = TypeVar("T")


class Calls:
    """Every coroutine that runs in it ends when it is stopped."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[Any]] = set()
        self._is_stopped = False

    def __len__(self) -> int:
        return len(self._running)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; raises EngineError where the engine is stopped, before or meanwhile."""
        if self._is_stopped:
            work.close()
            raise stopped(self._name)
        task = asyncio.create_task(work)
        self._running.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if self._is_stopped and me is not None and not me.cancelling():
                raise stopped(self._name) from None
            raise
        finally:
            self._running.discard(task)

    async def stop(self) -> None:
        """Cancel what runs, and wait until it has let go of what it held."""
        self._is_stopped = True
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def stopped(name: str) -> EngineError:
    """Return what is raised where an engine does not run."""
    return EngineError(f"the engine of {name!r} is not running; start it")
