"""Answer ClickHouse's HTTP protocol over any engine that can run a statement.

Rules:
- A request is read whole before its statement begins, and a small answer is sent whole, with its length; a
  large one is sent in pieces, after a first megabyte without an error, unless the client asked to wait.
- An error before the answer begins is a status with `X-ClickHouse-Exception-Code`; one after that is written
  into the answer between the marks of `X-ClickHouse-Exception-Tag`, and the connection is closed.
- Only a program on this machine is answered: a browser's page (an `Origin`, a foreign `Host`) is refused.
"""

import contextlib
import hmac
import ipaddress
import json
import logging
import re
import secrets
import socketserver
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO, Protocol, cast
from urllib.parse import urlsplit

from ops.embedded.body import pieces, spool
from ops.embedded.request import Request, Scope, credentials, read_request
from ops.embedded.sql import Insert, Query, QueryError

log = logging.getLogger(__name__)

PASSWORD_VARIABLE = "AGENTRACER_STORE_PASSWORD"  # noqa: S105 - a name
"""The environment variable that the endpoint takes its password from."""

_FIRST_PIECE_BYTES = 1 << 20
_STATUS = {
    46: HTTPStatus.NOT_FOUND,  # unknown function
    47: HTTPStatus.NOT_FOUND,  # unknown identifier
    48: HTTPStatus.NOT_IMPLEMENTED,
    60: HTTPStatus.NOT_FOUND,  # unknown table
    62: HTTPStatus.BAD_REQUEST,  # syntax error
    81: HTTPStatus.NOT_FOUND,  # unknown database
    115: HTTPStatus.NOT_FOUND,  # unknown setting
    497: HTTPStatus.FORBIDDEN,  # access denied
    516: HTTPStatus.FORBIDDEN,  # authentication failed
}


@dataclass(slots=True)
class Work:
    """What a statement did, counted while it runs."""

    read_rows: int = 0
    read_bytes: int = 0
    result_rows: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_ns: int = 0

    def summary(self) -> str:
        """Write the value of `X-ClickHouse-Summary`."""
        counts = {name: str(getattr(self, name)) for name in self.__slots__}
        return json.dumps(counts | {"total_rows_to_read": counts["read_rows"]})


class Engine(Protocol):
    """What runs the statements."""

    timezone: str

    def insert(self, scope: Scope, insert: Insert, rows: Iterator[bytes], work: Work) -> None:
        """Insert `rows`; when it returns they are in the table."""

    def query(self, scope: Scope, query: Query, default_format: str, work: Work) -> Generator[bytes, None, None]:
        """Run `query` and hand out its answer in pieces."""


class StoreServer(ThreadingHTTPServer):
    """A thread a connection: an idle client keeps none of the others waiting."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], engine: Engine, password: str | None = None) -> None:
        self.engine = engine
        self.password = password
        self._in_work = 0
        self._is_draining = False
        self._changed = threading.Condition()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for our name, as the base class would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Count a request as in work; raises QueryError once drain() has begun."""
        with self._changed:
            if self._is_draining:
                raise QueryError(236, "ABORTED", "The store is stopping")
            self._in_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_work -= 1
                self._changed.notify_all()

    def drain(self, within_s: float) -> bool:
        """Begin no request any more and wait for those in work; False when `within_s` seconds were not enough."""
        with self._changed:
            self._is_draining = True
            return self._changed.wait_for(lambda: self._in_work == 0, within_s)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client, with any number of requests after each other."""

    protocol_version = "HTTP/1.1"
    server_version = "ClickHouse-embedded"
    sys_version = ""
    disable_nagle_algorithm = True
    server: StoreServer

    def do_GET(self) -> None:
        """Answer a link: `/ping`, or a statement that changes nothing."""
        self._answer()

    def do_POST(self) -> None:
        """Answer a statement."""
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing on stderr: statements and their parameters may hold content."""
        log.debug(format, *args)

    def _answer(self) -> None:
        self._has_begun = False
        self._is_last = self.close_connection
        self.close_connection = True  # until its body is read, no other request can be
        self._exception_tag = secrets.token_hex(8)
        try:
            with self.server.working():
                self._route()
        except QueryError as error:
            self._fail(error)
        except OSError:
            self.close_connection = True  # the client is gone
        except Exception as error:  # the loop's boundary: one request's fault ends no other
            log.exception("a request failed")
            self._fail(QueryError(1001, "STD_EXCEPTION", f"{type(error).__name__}: {error}"))

    def _route(self) -> None:
        path = urlsplit(self.path).path
        if not self._is_local():
            self._send(HTTPStatus.FORBIDDEN, b"Only programs of this machine are answered here.\n")
        elif path == "/ping":
            self._send(HTTPStatus.OK, b"Ok.\n")
        elif path != "/":
            self._send(HTTPStatus.NOT_FOUND, f"There is no {path!r} here, only / and /ping.\n".encode())
        elif self.command == "GET" and "?" not in self.path:
            self._send(HTTPStatus.OK, b"Ok.\n")
        else:
            self._authenticate()
            self._run()

    def _is_local(self) -> bool:
        """Tell a program from a page in a browser, which has an origin, or a name of its own for us."""
        host = re.sub(r":\d+$", "", self.headers.get("Host", "localhost")).strip("[]")
        return "Origin" not in self.headers and is_loopback(host)

    def _authenticate(self) -> None:
        if self.server.password is None:
            return
        given = credentials(self.path, self.headers)
        if not hmac.compare_digest(given.password.encode(errors="surrogateescape"), self.server.password.encode()):
            raise QueryError(
                516, "AUTHENTICATION_FAILED", f"{given.user}: Authentication failed: password is incorrect"
            )

    def _run(self) -> None:
        request = read_request(self.command, self.path, self.headers, cast("BinaryIO", self.rfile))
        self.close_connection = self._is_last
        statement = request.statement()
        work = Work()
        if isinstance(statement, Insert):
            self.server.engine.insert(request.scope, statement, request.rows(statement), work)
            self._send(HTTPStatus.OK, b"", self._headers(request, None, work))
            return
        answer = self.server.engine.query(request.scope, statement, request.default_format, work)
        with contextlib.closing(answer):
            self._send_answer(request, statement.format or request.default_format, answer, work)

    def _send_answer(self, request: Request, output_format: str, answer: Iterator[bytes], work: Work) -> None:
        first = spool()
        for piece in answer:
            first.write(piece)
            if first.tell() > _FIRST_PIECE_BYTES and not request.is_whole_awaited:
                self._send_in_pieces(first, answer, self._headers(request, output_format, work))
                return
        self._send(HTTPStatus.OK, first, self._headers(request, output_format if first.tell() else None, work))

    def _headers(self, request: Request, output_format: str | None, work: Work) -> dict[str, str]:
        headers = {
            "X-ClickHouse-Query-Id": request.query_id,
            "X-ClickHouse-Timezone": self.server.engine.timezone,
            "X-ClickHouse-Exception-Tag": self._exception_tag,
            "X-ClickHouse-Summary": work.summary(),
        }
        return headers | ({"X-ClickHouse-Format": output_format} if output_format else {})

    def _send(self, status: HTTPStatus, body: bytes | BinaryIO, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer."""
        size = len(body) if isinstance(body, bytes) else body.tell()
        self._begin(status, {"Content-Length": str(size)} | dict(headers or {}))
        if isinstance(body, bytes):
            self.wfile.write(body)
        else:
            body.seek(0)
            for piece in pieces(body):
                self.wfile.write(piece)

    def _send_in_pieces(self, first: BinaryIO, rest: Iterator[bytes], headers: Mapping[str, str]) -> None:
        self._begin(HTTPStatus.OK, {"Transfer-Encoding": "chunked"} | dict(headers))
        first.seek(0)
        for piece in pieces(first):
            self._send_piece(piece)
        for piece in rest:
            self._send_piece(piece)
        self.wfile.write(b"0\r\n\r\n")

    def _send_piece(self, piece: bytes) -> None:
        if piece:
            self.wfile.write(b"%x\r\n" % len(piece))
            self.wfile.write(piece)
            self.wfile.write(b"\r\n")

    def _begin(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self._has_begun = True
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, re.sub(r"[^\x20-\x7e]", "?", value))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _fail(self, error: QueryError) -> None:
        message = f"{error}\n".encode(errors="backslashreplace")
        with contextlib.suppress(OSError):
            if self._has_begun:
                self.close_connection = True
                tag = self._exception_tag.encode()
                around = b"\r\n__exception__\r\n" + tag + b"\r\n%b%d " + tag + b"\r\n__exception__\r\n"
                self._send_piece(around % (message, len(message)))
            else:
                headers = {"X-ClickHouse-Exception-Code": str(error.code)}
                self._send(_STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR), message, headers)


def is_loopback(host: str) -> bool:
    """Tell whether `host` names this machine to itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
