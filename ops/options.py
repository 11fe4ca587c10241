"""The options that several commands share, each written once; an address that can't be one is refused at once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from schemas.errors import SettingsError

MOST_HOURS = 1_000_000.0
_PORTS = range(1, 65536)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:,/@\[\]]+)(?::([0-9]{1,5}))?")


def _hosts(text: str | None) -> str | None:
    """Refuse what is no broker's address; a client of Kafka would look for it for ten seconds, or raise."""
    for one in [] if text is None else text.split(","):
        found = _HOST.fullmatch(one.strip())
        if found is None or int(found[1] or 1) not in _PORTS:
            raise SettingsError(f"{text!r} is no broker's address; give HOST:PORT, several with commas between")
    return text


def _url(text: str | None) -> str | None:
    """Refuse what is no URL of ClickHouse; its driver would take the local one for much of it."""
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        shown = text.rpartition("@")[2]  # what stands before it may be a password
        raise SettingsError(f"{shown!r} is no URL of ClickHouse; give http://user:password@host:8123/database")
    return text


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Say in our words that a file which was named can't be read or written."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{str(path)!r} can't be used: {error.strerror or error}; name another file") from error


def writable(path: Path | None) -> Path | None:
    """Refuse at once a file that could not be written after all the work."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise SettingsError(f"{str(path)!r} can't be written: it is a folder, or its folder is not there; name another")
    return path


def time_of(text: str) -> datetime:
    """Read a time; one without an offset is in UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is no time; give one as `verdicts --json` prints it") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def moment_of(text: str, now: datetime) -> datetime:
    """Read so many hours before now, or a time."""
    try:
        hours = float(text)
    except ValueError:
        return time_of(text)
    if not 0 <= hours <= MOST_HOURS:
        raise SettingsError(f"{text!r} hours before now are none; give 0 to {MOST_HOURS:.0f}, or a time")
    return now - timedelta(hours=hours)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="AGENTRACER_CONFIG",
        metavar="FILE",
        help="Settings from this TOML file, below the environment; no file is read unless it is named.",
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker", metavar="HOST:PORT", callback=_hosts, help="Use this Kafka instead of the embedded broker."
    ),
]
Clickhouse = Annotated[
    str | None,
    typer.Option(
        "--clickhouse",
        metavar="URL",
        callback=_url,
        help="Use this ClickHouse (http://user:password@host:8123/database) instead of the embedded store.",
    ),
]
Kafka = Annotated[bool, typer.Option("--kafka", help="Start a real Apache Kafka (needs Java 17 and Maven).")]
Store = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Keep the embedded store here; else it is forgotten.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object (or list) on stdout; progress goes to stderr.")]
Rules = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        envvar="AGENTRACER_ROUTING_RULES",
        metavar="FILE",
        help="Routing rules (TOML): what counts as failure, per system.",
    ),
]
TracerName = Annotated[
    str,
    typer.Option(
        "--tracer",
        envvar="AGENTRACER_TRACER",
        help="last_error, last_step, commonest_agent or random: model-free floors.",
    ),
]
Rate = Annotated[
    float | None, typer.Option(min=0.001, help="Events a second; as fast as the broker takes them if left out.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="How many runs are under way at a time, interleaved.")]
Shuffle = Annotated[bool, typer.Option(help="Send each run's steps in any order.")]
Duplicate = Annotated[float, typer.Option(min=0.0, max=1.0, help="This share of the events is sent twice.")]
Ndjson = Annotated[int, typer.Option(min=1, help="Events a record; above 1 the records are NDJSON.")]
Seed = Annotated[int, typer.Option(help="Fixes every draw: the order, the duplicates, the simulated fleet.")]
At = Annotated[
    str,
    typer.Option(
        "--clickhouse",
        envvar="AGENTRACER_CLICKHOUSE_URL",
        metavar="URL",
        callback=_url,
        help="The store; `up` serves this default.",
    ),
]
To = Annotated[
    str,
    typer.Option(
        "--broker",
        envvar="AGENTRACER_BOOTSTRAP",
        metavar="HOST:PORT",
        callback=_hosts,
        help="The broker; `up` serves this default.",
    ),
]
BrokerPort = Annotated[int, typer.Option(min=1, max=65535, help="Where the broker that is started here listens.")]
StorePort = Annotated[int, typer.Option(min=1, max=65535, help="Where the store that is started here listens.")]
BROKER_PORT, STORE_PORT = 9092, 8123
DEFAULT_BROKER = f"127.0.0.1:{BROKER_PORT}"
DEFAULT_CLICKHOUSE = f"http://127.0.0.1:{STORE_PORT}/agentracer"
