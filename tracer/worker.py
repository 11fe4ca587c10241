"""A tracer worker as a process: its loop and its signals.

Rules: SIGTERM or SIGINT drains, a second one ends at once; while its model is loaded, which takes minutes, a worker is
alive and not ready.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Coroutine

from schemas.health import Health, Part
from schemas.metrics import UNMETERED, Metrics

from .choose import candidate_of, chosen
from .consume import consume
from .model import ModelTracer
from .promotions import follow
from .protocol import Tracer
from .settings import TracerSettings
from .shadow import Candidate

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)
BEAT_S = 1.0


def main(settings: TracerSettings | None = None, metrics: Metrics = UNMETERED, health: Health | None = None) -> None:
    """Run one worker until it is told to stop; errors of ours are the caller's to print."""
    run_in_loop(run(settings or TracerSettings(), metrics=metrics, health=health))


async def run(
    settings: TracerSettings,
    tracer: Tracer | None = None,
    *,
    metrics: Metrics = UNMETERED,
    health: Health | None = None,
    shadow: Candidate | None = None,
) -> None:
    """Trace until a signal comes, then drain; without a tracer the one that the settings name, and its shadow."""
    if tracer is None:
        shadow = candidate_of(settings)
        async with contextlib.AsyncExitStack() as kept:
            async with _loading(health or Health()):
                named = await kept.enter_async_context(chosen(settings))
            await run(settings, named, metrics=metrics, health=health, shadow=shadow)
        return
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _stop, stop, number)
    fields = {"tracer": tracer.name, "version": tracer.version, "group": settings.tracer_group}
    log.info("tracer started", extra=fields)
    following = _following(settings, tracer)
    try:
        await consume(settings, tracer, stop, metrics=metrics, health=health, shadow=shadow)
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait({following})
        for number in SIGNALS:
            loop.remove_signal_handler(number)
    log.info("tracer stopped", extra=fields)


@contextlib.asynccontextmanager
async def _loading(health: Health) -> AsyncIterator[None]:
    """Say that the loop turns, and what the worker waits for, until the tracer is there."""

    async def beat() -> None:
        while True:
            health.beat()
            await asyncio.sleep(BEAT_S)

    health.ready(Part.MODEL, "the tracer's model is being loaded")
    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})
    health.ready(Part.MODEL)


def _following(settings: TracerSettings, tracer: Tracer) -> asyncio.Task[None] | None:
    """Follow promotions beside the work, where the tracer can change its adapter and is told to."""
    if not isinstance(tracer, ModelTracer) or not settings.tracer_follows_promotions:
        return None
    return asyncio.create_task(follow(settings.bootstrap, tracer))


def _stop(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        log.warning("a second signal: leaving at once")
        os._exit(128 + number)
    stop.set()


def run_in_loop(work: Coroutine[None, None, None]) -> None:
    """Run to the end, on uvloop where it is installed."""
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  optional

        uvloop.run(work)
        return
    asyncio.run(work)
