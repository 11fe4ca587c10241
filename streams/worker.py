"""A streams worker: starts the app, stops it on SIGTERM or SIGINT after one last checkpoint, and ends with an error
where going on would lose or double something.
"""

import asyncio
import gc
import logging
import signal

from schemas.errors import AgentracerError

from .app import StreamsApp, build_app
from .kafka import partition_count
from .settings import StreamsSettings

log = logging.getLogger("agentracer.streams")


async def run(settings: StreamsSettings, stop: asyncio.Event) -> None:
    """Run until `stop`; raises what the worker could not go on from."""
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    app = build_app(settings, await partition_count(settings), on_fatal=fail)
    await app.partitions.reader.start()
    try:
        await app.start()
        await _until(stop, app)
        await app.partitions.release()
    finally:
        await app.stop()
        await app.partitions.reader.stop()
    if failures:
        raise failures[0]


async def _until(stop: asyncio.Event, app: StreamsApp) -> None:
    waits = {asyncio.ensure_future(stop.wait()), asyncio.ensure_future(app.wait_until_stopped())}
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in pending:
        one.cancel()
    for one in done:
        one.result()
    if not stop.is_set():
        raise AgentracerError("the stream stopped by itself; its log says why") from app.crash_reason


def collect_garbage_seldom() -> None:
    """Open trajectories are many objects that live long: looking through them often costs a sixth of the speed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def main(settings: StreamsSettings) -> None:
    """Run until a signal says stop."""

    async def _main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        await run(settings, stop)

    import uvloop  # noqa: PLC0415 - the stream's own extra has it

    collect_garbage_seldom()
    uvloop.run(_main())
