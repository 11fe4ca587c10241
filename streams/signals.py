"""The signals of a worker: the first SIGTERM or SIGINT asks it to drain, a second one ends it at once.

Rule: what a second signal leaves undone is nothing that was committed, so the next worker does it.
"""

import asyncio
import logging
import os
import signal

log = logging.getLogger("agentracer.streams")


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first signal; a second one ends the process with 128 and its number, as a shell counts."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop, number)


def _stop(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        log.warning("a second signal: leaving at once")
        os._exit(128 + number)
    log.info("draining")
    stop.set()
