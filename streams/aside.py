"""A second event loop on a thread of its own, for what compresses and sends: folding goes on meanwhile.

Rules: a process has one; what runs there shares nothing with the caller that either of them still changes;
cancelling the caller cancels what runs there.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger("agentracer.streams")


async def aside(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the other loop, and return what it returns."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, _loop()))


def _tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say in one line what nobody waits for: a producer that is fenced fails in several places at once."""
    fields = {"message": context.get("message"), "error": type(context.get("exception")).__name__}
    log.warning("failed, and nobody waits for it", extra={"what": fields})


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Start the thread; its loop is of the same make as the caller's."""
    loop = type(asyncio.get_running_loop())()
    loop.set_exception_handler(_tell)
    threading.Thread(target=loop.run_forever, name="aside", daemon=True).start()
    return loop
