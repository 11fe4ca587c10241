"""The embedded store: the ClickHouse engine (chdb) in a process of its own, behind ClickHouse's HTTP protocol.

    python -m ops.embedded.endpoint --path DIR --port N

A stock ClickHouse client can't tell it from a server as far as it goes: statements in a body or a link, typed
parameters, settings, every format the engine reads and writes, compressed requests, error codes, `/ping`.

Rules:
- Each request has a connection of its own to the engine (0.2 ms), so database, settings and parameters are that
  request's alone, and readers and writers run side by side.
- An insert is acknowledged when its rows are in the table; a kill -9 at any moment loses no acknowledged one.
- The folder is locked: a second process is refused. Only loopback is listened on. Whoever may connect may read
  and write what this process may, files included (`file()`), so set a password on a machine shared with others.

It does not speak these, and says so: sessions (SET, USE, temporary tables; `session_id` is accepted, since stock
clients send one), external data, INSERT … SELECT FROM input(), FROM INFILE and INTO OUTFILE, several statements in
a request, ClickHouse's own `compress`/`decompress`, roles. The engine itself has no users and grants, no
`system.query_log`, no Replicated tables and no Kafka engine. Answers are not compressed, a query is not ended
when its client goes away before the first rows, and there are no progress headers.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from chdb import ChdbError
from chdb.state.sqlitelike import Connection

from ops.embedded.handler import PASSWORD_VARIABLE, StoreServer, Work, is_loopback
from ops.embedded.request import Scope
from ops.embedded.sql import HEAD_BYTES, Insert, Query, QueryError
from schemas.errors import AgentracerError, SettingsError, StoreUnavailableError

_DRAIN_S = 5.0
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SETTINGS_OF_A_SERVER = {"implicit_select": "0"}
_CANNOT_STREAM = "Streaming query is not supported"


class ChdbEngine:
    """The engine on one folder; raises StoreUnavailableError where another process has it."""

    def __init__(self, path: Path) -> None:
        self._path = _claim(path)
        try:
            self._first = Connection(self._path)  # as long as it lives, further ones open in no time
        except RuntimeError as error:
            raise StoreUnavailableError(f"the engine can't open the store {self._path!r}: {error}") from error
        self.timezone = self._first.query("SELECT timezone()", "TSVRaw").bytes().decode().strip()

    def insert(self, scope: Scope, insert: Insert, rows: Iterator[bytes], work: Work) -> None:
        """Insert `rows`; when it returns they are in the table.

        They pass through a nameless file: the engine's own way of taking rows piece by piece does not say when
        writing them fails.
        """
        with tempfile.TemporaryFile() as file, self._connected(scope, work) as connection:
            for piece in rows:
                file.write(piece)
            file.flush()
            _count(work, connection.query(insert.from_file(f"/dev/fd/{file.fileno()}"), "Null"))

    def query(self, scope: Scope, query: Query, default_format: str, work: Work) -> Generator[bytes, None, None]:
        """Run `query` and hand out its answer in pieces."""
        with self._connected(scope, work) as connection:
            if query.is_piecewise(default_format):
                try:
                    yield from _stream(connection, query, default_format, work)
                except Exception as error:
                    if _CANNOT_STREAM not in str(error):
                        raise
                else:
                    return
            answer = connection.query(query.text, default_format)
            _count(work, answer)
            yield answer.bytes()

    def end_queries(self) -> None:
        """Ask every statement that still runs to end."""
        with self._connected(Scope(), Work()) as connection:
            connection.query("KILL QUERY WHERE query NOT LIKE 'KILL QUERY%' ASYNC", "Null")

    def close(self) -> None:
        """Close the store; no statement may be running."""
        self._first.close()

    @contextlib.contextmanager
    def _connected(self, scope: Scope, work: Work) -> Iterator[Connection]:
        started = perf_counter_ns()
        connection = Connection(self._path)
        try:
            _enter(connection, scope)
            yield connection
        except (RuntimeError, ChdbError) as error:
            raise _as_query_error(error) from error
        finally:
            work.elapsed_ns = perf_counter_ns() - started
            connection.close()


def _enter(connection: Connection, scope: Scope) -> None:
    if scope.database:
        connection.query(f"USE `{_escaped(scope.database, '`')}`", "Null")
    values = {**_SETTINGS_OF_A_SERVER, **scope.settings}
    values |= {f"param_{name}": value for name, value in scope.parameters.items()}
    for name in values:
        if _NAME.fullmatch(name) is None:
            raise QueryError(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
    ordered = sorted(values.items(), key=lambda pair: pair[0] == "readonly")  # what comes after it is refused
    assignments = ", ".join(f"{name} = '{_escaped(value, chr(39))}'" for name, value in ordered)
    statement = f"SET {assignments}".encode(errors="surrogateescape")
    if len(statement) > HEAD_BYTES:
        raise QueryError(
            62, "SYNTAX_ERROR", f"Max query size exceeded: settings and parameters of {len(statement)} bytes"
        )
    connection.query(statement, "Null")


def _stream(connection: Connection, query: Query, default_format: str, work: Work) -> Iterator[bytes]:
    with connection.send_query(query.text, default_format) as answer:
        for piece in answer:
            _count(work, piece)
            yield piece.bytes()


def _count(work: Work, answer: Any) -> None:
    work.result_rows += answer.rows_read()
    work.read_rows += answer.storage_rows_read()
    work.read_bytes += answer.storage_bytes_read()
    work.written_rows += answer.rows_written()
    work.written_bytes += answer.bytes_written()


def _escaped(text: str, quote: str) -> str:
    return text.replace("\\", "\\\\").replace(quote, "\\" + quote)


def _as_query_error(error: Exception) -> QueryError:
    """Say the engine's error as ClickHouse does: what chdb puts before and around it is cut off."""
    text = str(error)
    said = re.search(r"Code: (\d+)\. DB::Exception: (.*)\((\w+)\)", text, re.DOTALL)
    if said is None:
        return QueryError(1001, "STD_EXCEPTION", text)
    return QueryError(int(said[1]), said[3], said[2].strip().removesuffix("."))


def _claim(path: Path) -> str:
    """Make sure of the folder, and name it as the engine does; raises StoreUnavailableError where it can't be had."""
    if "?" in str(path):
        raise SettingsError(
            f"the store's path {str(path)!r} has a '?' in it, which the engine reads as its own; rename it"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with (path / "status").open("ab") as status:
            fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreUnavailableError(
            f"the store {str(path)!r} is open in another process; end that one, or connect to it over HTTP"
        ) from error
    except OSError as error:
        raise StoreUnavailableError(f"the store {str(path)!r} can't be opened: {error}; name another folder") from error
    return str(path.resolve())


def _listening(engine: ChdbEngine, host: str, port: int, password: str | None) -> StoreServer:
    try:
        return StoreServer((host, port), engine, password)
    except OSError as error:
        raise StoreUnavailableError(f"can't listen on {host}:{port}: {error}; name another --port") from error


def serve(engine: ChdbEngine, host: str, port: int, password: str | None) -> None:
    """Answer until SIGTERM or SIGINT, then end in order: no new requests, those in work finish, or are ended."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with _listening(engine, host, port, password) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        print(f"listening on http://{host}:{server.server_address[1]}", flush=True)
        stopped.wait()
        server.shutdown()
        if not server.drain(_DRAIN_S):
            engine.end_queries()
            if not server.drain(_DRAIN_S):
                os._exit(1)  # closing an engine at work would crash; what it acknowledged is on disk
    engine.close()


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ops.embedded.endpoint", description="The embedded store over HTTP."
    )
    parser.add_argument("--path", type=Path, required=True, help="folder of the store, made if it is not there")
    parser.add_argument("--port", type=int, default=8123, help="0 for any free one")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address; others are refused")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Serve one folder; the exit code is that of the error that ended it."""
    given = _arguments(arguments)
    try:
        if not is_loopback(given.host):
            raise SettingsError(
                f"--host {given.host!r} is no loopback address: the embedded store serves this machine alone"
            )
        engine = ChdbEngine(given.path)
        serve(engine, given.host, given.port, os.environ.get(PASSWORD_VARIABLE))
    except AgentracerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    sys.exit(main(sys.argv[1:]))
