"""The log of a worker: one JSON object a line on standard error, with ids and numbers and never content.

Rules: what a log call names in `extra` becomes a field; the libraries below us are heard from warnings up, since
they tell content at debug, and the store's driver not at all, since it tells the whole URL, password included.
"""

import json
import logging
from datetime import UTC, datetime

QUIET = ("aiokafka", "faust", "mode", "asyncio", "streams.app", "streams.delivery")
SILENT = ("clickhouse_connect", "urllib3.connectionpool")
_OWN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


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
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Set the log up, once per process."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    quiet_libraries()


def quiet_libraries(level: int = logging.WARNING) -> None:
    """Let the libraries speak from `level` up only."""
    for name in QUIET:
        logging.getLogger(name).setLevel(level)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
