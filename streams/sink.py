"""Rows into ClickHouse: the only file of this package that speaks to it.

Rules: an insert is synchronous, and over when ClickHouse has it; its token makes the client's own repetition of a
request harmless and costs nothing else: exactness rests on the rows' identity alone. A token is one batch's and
never made of offsets: redelivery cuts batches elsewhere, and a token met again with other rows drops them in
silence. What fails is told apart: the store is away or overloaded (StoreAwayError: try again, later), the schema or
the rights are wrong (StateError: a person has to look), or a row itself is refused, which is found by halving and
given back while the others are stored.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

import clickhouse_connect
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError
from clickhouse_connect.driver.exceptions import Error as DriverError

from schemas.errors import SettingsError, StateError, StoreUnavailableError

from .rows import Row
from .sink_settings import database_of
from .tables import TABLES, Table

T = TypeVar("T")
Columns = Sequence[Sequence[Any]]

CONNECT_S = 5
ANSWER_S = 60
"""An insert that is not answered for so long is tried again."""

_URL = "AGENTRACER_CLICKHOUSE_URL"
_SETTINGS = {
    "async_insert": 0,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "throw_on_max_partitions_per_insert_block": 0,  # old trajectories of many months are stored like any other
}
_OF_THE_ROW = frozenset({6, 26, 27, 33, 36, 38, 41, 53, 69, 70, 72, 117, 128, 131, 349, 407, 469, 691})
"""Codes of ClickHouse that blame the data: it can't be parsed, converted, or is refused by a constraint."""
_OF_THE_SCHEMA = frozenset({16, 20, 47, 60, 81, 115})
"""Unknown column, table, database or setting."""
_OF_THE_RIGHTS = frozenset({164, 192, 193, 194, 497, 516})
"""Read-only, unknown user, wrong password, not allowed."""

_TYPES = {table.name: [get_from_name(kind) for _, kind in table.columns] for table in TABLES}
_NAMES = {table.name: [name for name, _ in table.columns] for table in TABLES}

for _name in ("clickhouse_connect", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # they log what they raise, and every try, with the whole URL


class StoreAwayError(StoreUnavailableError):
    """ClickHouse does not answer, or has too much to do: nothing is lost, try again later."""


class Refused(NamedTuple):
    """A row that the store refuses for its own sake, by its place in the batch."""

    row: int
    message: str


class Store:
    """A connection to one database of ClickHouse, which need not be there yet; its calls block, one at a time."""

    def __init__(self, url: str) -> None:
        self.address = address_of(url)
        self.database = database_of(url)
        self.client = _client(url)
        self.client.database = self.database

    def insert(self, table: Table, rows: Sequence[Row], token: str) -> list[Refused]:
        """Store the rows, all but those refused, which are returned; raises StoreAwayError and StateError."""
        return self._insert(table, list(zip(*rows, strict=True)), range(len(rows)), token) if rows else []

    def _insert(self, table: Table, columns: Columns, rows: range, token: str) -> list[Refused]:
        try:
            self._send(table, _cut(columns, rows), f"{token}/{table.name}/{rows.start}-{rows.stop}")
        except _RefusedError as error:
            if len(rows) == 1:
                return [Refused(rows.start, str(error))]
            middle = len(rows) // 2
            halves = (rows[:middle], rows[middle:])
            return [refused for half in halves for refused in self._insert(table, columns, half, token)]
        return []

    def _send(self, table: Table, columns: Columns, token: str) -> None:
        try:
            self.client.insert(
                table.name,
                columns,
                column_names=_NAMES[table.name],
                column_types=_TYPES[table.name],
                column_oriented=True,
                settings={**_SETTINGS, "insert_deduplication_token": token},
            )
        except ClickHouseError as error:
            raise self._told_apart(error) from error
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise _RefusedError(f"the driver can't write it: {_first_line(error)}") from error

    def _told_apart(self, error: ClickHouseError) -> Exception:
        code = _code(error)
        if isinstance(error, DataError):
            return _RefusedError(f"the driver can't write it: {_first_line(error)}")
        if code in _OF_THE_ROW:
            return _RefusedError(f"ClickHouse refuses it: {_named(error)}")  # its message would quote the content
        if code in _OF_THE_SCHEMA:
            said = _first_line(error)
            return StateError(f"database {self.database!r} is not as we have it: {said}; run `agentracer migrate`")
        if code in _OF_THE_RIGHTS:
            return StateError(f"the store at {self.address!r} does not let us write: {_named(error)}; grant it")
        return StoreAwayError(
            f"the store at {self.address!r} does not take rows now: {_named(error)}; it is tried again"
        )

    def ask(self, question: Callable[[Any], T]) -> T:
        """Ask ClickHouse something by its client; raises StoreUnavailableError and StateError."""
        try:
            return question(self.client)
        except ClickHouseError as error:
            told = self._told_apart(error)
            if isinstance(told, StateError):
                raise told from error
            raise StoreUnavailableError(
                f"the store at {self.address!r} does not answer: {_named(error)}; start the sink again when it does"
            ) from error

    def ping(self) -> bool:
        """Whether ClickHouse answers."""
        return bool(self.client.ping())

    def close(self) -> None:
        """Give the connection back."""
        self.client.close()


class _RefusedError(Exception):
    """The store refuses the data itself."""


def connect(url: str, *, within_s: float = 10.0) -> Store:
    """Connect, waiting for ClickHouse.

    Raises StoreUnavailableError when nothing answers in time, and SettingsError when the user or the password is
    wrong.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            return Store(url)
        except ClickHouseError as error:
            if _code(error) in _OF_THE_RIGHTS:
                raise SettingsError(f"the store at {address_of(url)!r} refuses the user; check {_URL}") from error
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"no ClickHouse answers at {address_of(url)!r} ({_named(error)}); start it or set {_URL}"
                ) from error
            time.sleep(0.3)


def address_of(url: str) -> str:
    """Return host and port of a URL, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _client(url: str) -> Any:
    return clickhouse_connect.get_client(
        dsn=urlunsplit(urlsplit(url)._replace(path="")),
        connect_timeout=CONNECT_S,
        send_receive_timeout=ANSWER_S,
        autogenerate_session_id=False,
        tz_mode="aware",
        client_name="agentracer",
    )


def _cut(columns: Columns, rows: range) -> Columns:
    return columns if len(rows) == len(columns[0]) else [column[rows.start : rows.stop] for column in columns]


def _code(error: ClickHouseError) -> int | None:
    return error.code if isinstance(error, DriverError) else None


def _named(error: ClickHouseError) -> str:
    """Name an error without its message, which may be long or quote a row."""
    if isinstance(error, DriverError) and error.code is not None:
        return f"{error.name} (code {error.code})"
    cause = error.__cause__
    return type(getattr(cause, "reason", None) or cause or error).__name__


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
