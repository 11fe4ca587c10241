"""The log of a worker: one JSON object a line on standard error, its last words too, with ids and never content.

Rules: what a log call names in `extra` becomes a field; the libraries below us are heard from warnings up, since
they tell content at debug, and the store's driver not at all, since it tells the whole URL, password included; what
a library says over and over, while a broker is away, is told once in five seconds, with how often it was said.
"""

import json
import logging
import math
import traceback
from datetime import UTC, datetime

QUIET = ("aiokafka", "faust", "mode", "asyncio", "streams.app", "streams.delivery")
SILENT = ("clickhouse_connect", "urllib3.connectionpool")
_QUOTING = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""What Python and pydantic raise over a value, and say which: it may be content."""
_OWN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class Seldom(logging.Filter):
    """Lets the same line of a library pass once in `EVERY_S` seconds; the next that passes says how many did not."""

    EVERY_S = 5.0

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[str, int], tuple[float, int]] = {}
        """By the place in the library's code: when it was told last, and how often it was said since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to write the line."""
        if record.name.partition(".")[0] not in QUIET:
            return True
        place = record.pathname, record.lineno
        at, untold = self._told.get(place, (-math.inf, 0))
        if record.created - at < self.EVERY_S:
            self._told[place] = at, untold + 1
            return False
        self._told[place] = record.created, 0
        if untold:
            record.untold = untold
        return True


class JsonLines(logging.Formatter):
    """Time, level, where, what, and the fields that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info:
            line["trace"] = trace(record.exc_info[1])
        return json.dumps(line, default=str)


def trace(error: BaseException | None) -> str:
    """Return where an error and what led to it came from; the message of one that may quote a value is left out."""
    parts: list[str] = []
    while error is not None:
        said = type(error).__name__ if isinstance(error, _QUOTING) else f"{type(error).__name__}: {error}"
        parts.append("".join(traceback.format_tb(error.__traceback__)) + said)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(reversed(parts))


def log_to_stderr(level: int = logging.INFO) -> None:
    """Set the log up, once per process."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    handler.addFilter(Seldom())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    quiet_libraries()


def is_logging() -> bool:
    """Whether this process's standard error is such a log."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


def quiet_libraries(level: int = logging.WARNING) -> None:
    """Let the libraries speak from `level` up only."""
    for name in QUIET:
        logging.getLogger(name).setLevel(level)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
