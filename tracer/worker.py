"""A tracer worker as a process: its loop, its signals, its log.

Rules: SIGTERM or SIGINT drains, a second one ends at once; the log is one JSON object a line, with ids and
numbers and never content, and the broker client's own log stays above DEBUG, where it prints what it sends.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Coroutine
from datetime import UTC, datetime

from .consume import consume
from .protocol import Tracer
from .rules import by_name
from .settings import TracerSettings

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(settings: TracerSettings | None = None) -> None:
    """Run one worker until it is told to stop; errors of ours are the caller's to print."""
    log_to_stderr()
    run_in_loop(run(settings or TracerSettings()))


async def run(settings: TracerSettings, tracer: Tracer | None = None) -> None:
    """Trace until a signal comes, then drain; without a tracer the one that the settings name."""
    tracer = tracer or by_name(settings.tracer, settings.tracer_uncounted)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _stop, stop)
    fields = {"tracer": tracer.name, "version": tracer.version, "group": settings.tracer_group}
    log.info("tracer started", extra={"fields": fields})
    try:
        await consume(settings, tracer, stop)
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
    log.info("tracer stopped", extra={"fields": fields})


def _stop(stop: asyncio.Event) -> None:
    if stop.is_set():
        log.warning("a second signal: leaving at once")
        os._exit(130)
    stop.set()


def run_in_loop(work: Coroutine[None, None, None]) -> None:
    """Run to the end, on uvloop where it is installed."""
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  optional

        uvloop.run(work)
        return
    asyncio.run(work)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log as JSON lines, unless whoever started us has set up a log already."""
    logging.getLogger("aiokafka").setLevel(max(level, logging.WARNING))
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """One event, one line: time, level, where, what, and the fields that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
