"""A streams worker: starts the app, stops it on SIGTERM or SIGINT after one last checkpoint, and ends with an error
where going on would lose or double something.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable

from schemas.health import Health
from schemas.metrics import UNMETERED, Metrics

from .app import StreamsApp, build_app
from .kafka import in_our_words, partition_count, stopped_by
from .settings import StreamsSettings
from .signals import stop_on_signals

log = logging.getLogger("agentracer.streams")
CLOSE_S = 5.0
"""So long what is left is waited for; a broker that is gone does not hold a worker that is told to end."""


async def run(
    settings: StreamsSettings, stop: asyncio.Event, metrics: Metrics = UNMETERED, health: Health | None = None
) -> bool:
    """Run until `stop`; whether all was let go in time. Raises what the worker could not go on from."""
    with in_our_words(settings.bootstrap):
        return await _run(settings, stop, metrics, health)


async def _run(settings: StreamsSettings, stop: asyncio.Event, metrics: Metrics, health: Health | None) -> bool:
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    count = await partition_count(settings)
    app = build_app(settings, count, on_fatal=fail, metrics=metrics, health=health)
    await app.partitions.reader.start()
    try:
        await app.start()
        await _until(stop, app, settings.bootstrap)
        is_released = await _within(settings.streams_stop_s, app.partitions.release())
    finally:
        is_closed = await _within(CLOSE_S, app.stop()) and await _within(CLOSE_S, app.partitions.reader.stop())
    if failures:
        raise failures[0]
    if not is_released:
        log.warning("left without a last checkpoint; the next worker goes on from the one before")
    return is_released and is_closed


async def _within(seconds: float, work: Awaitable[object]) -> bool:
    """Wait so long at most, also for a work that would not be cancelled; whether it was done.

    A client that lets go while its broker is away may cancel itself: then it is done too.
    """
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    if task.done() and not task.cancelled():
        task.result()
    return task.done()


async def _until(stop: asyncio.Event, app: StreamsApp, bootstrap: str) -> None:
    waits = {asyncio.ensure_future(stop.wait()), asyncio.ensure_future(app.wait_until_stopped())}
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in pending:
        one.cancel()
    for one in done:
        one.result()
    if not stop.is_set():
        raise stopped_by(app.crash_reason, bootstrap) from app.crash_reason


def collect_garbage_seldom() -> None:
    """Open trajectories are many objects that live long: looking through them often costs a sixth of the speed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def main(settings: StreamsSettings, metrics: Metrics = UNMETERED, health: Health | None = None) -> None:
    """Run until a signal says stop."""

    async def _main() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        if not await run(settings, stop, metrics, health):
            os._exit(0)  # what is left waits for a broker that does not answer, and longer than anybody waits for us

    import uvloop  # noqa: PLC0415 - the stream's own extra has it

    collect_garbage_seldom()
    uvloop.run(_main())
