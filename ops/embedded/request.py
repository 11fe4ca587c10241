"""What a request to the store asks for, in ClickHouse's HTTP protocol.

The text of a statement is the parameter `query`, then the body. A parameter `param_x` is the value of `{x:Type}`
in it, written as ClickHouse writes a value in a tab-separated file; any other parameter that is not the
transport's is a setting of that one statement.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import BinaryIO
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from ops.embedded.body import form_fields, pieces, read_body
from ops.embedded.sql import (
    HEAD_BYTES,
    Insert,
    Query,
    QueryError,
    not_implemented,
    read_insert,
    read_query,
    refuse_more,
)

_MAX_QUERY_BYTES = 64 << 20
# Parameters that steer the transport; stock clients send them, and none changes what a statement does here.
_TRANSPORT = frozenset((
    "query", "database", "default_format", "query_id", "user", "password", "quota_key", "session_id",
    "session_timeout", "session_check", "close_session", "wait_end_of_query", "buffer_size", "stacktrace",
    "client_protocol_version", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
    "enable_http_compression", "http_zlib_compression_level", "add_http_cors_header",
    "cancel_http_readonly_queries_on_client_close",
))  # fmt: skip
_REFUSED = {
    "compress": "use Accept-Encoding, which is answered with plain bytes",
    "decompress": "use Content-Encoding",
    "role": "there are no users and roles",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What surrounds one statement: where it runs, and under which settings and parameters."""

    database: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end."""

    scope: Scope
    query_id: str
    default_format: str
    is_whole_awaited: bool
    """Whether the answer may begin only when the statement has ended."""
    _start: bytes
    _rest: BinaryIO

    def statement(self) -> Insert | Query:
        """Read the statement; raises QueryError where it can't be run here."""
        insert = read_insert(self._start)
        if insert is None:
            return read_query(self._text())
        if insert.format == "Values":
            refuse_more(self._text()[insert.rows_at :])
        return insert

    def _text(self) -> bytes:
        at = self._rest.tell()
        rest = self._rest.read(_MAX_QUERY_BYTES)
        self._rest.seek(at)
        if len(rest) == _MAX_QUERY_BYTES:
            raise QueryError(62, "SYNTAX_ERROR", f"Max query size exceeded: {_MAX_QUERY_BYTES} bytes; use FORMAT")
        return self._start + rest

    def rows(self, insert: Insert) -> Iterator[bytes]:
        """Read the rows that came with `insert`, in the bytes of its format."""
        yield self._start[insert.rows_at :]
        yield from pieces(self._rest)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks, as far as the request says."""

    user: str
    password: str


def url_parameters(target: str) -> dict[str, str]:
    """Read a request's parameters, the last of a name; bytes that are no UTF-8 survive as surrogates."""
    return dict(parse_qsl(urlsplit(target).query, keep_blank_values=True, errors="surrogateescape"))


def read_request(method: str, target: str, headers: Message, source: BinaryIO) -> Request:
    """Read one request to its end; raises QueryError for what is not spoken here, with the body read all the same."""
    body = read_body(headers, source)
    parameters = url_parameters(target)
    if headers.get_content_type() == "multipart/form-data":
        fields = form_fields(body.read(), headers)
        parameters |= {name: value.decode(errors="surrogateescape") for name, value in fields.items()}
    for name, instead in _REFUSED.items():
        if parameters.get(name, "0") not in ("", "0"):
            raise not_implemented(f"parameter {name!r}; {instead}")
    query = parameters.get("query", "").encode(errors="surrogateescape")
    start = (query + b"\n" if query else b"") + body.read(HEAD_BYTES)
    return Request(
        scope=_scope(method, parameters, headers),
        query_id=parameters.get("query_id") or str(uuid4()),
        default_format=parameters.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated",
        is_whole_awaited=parameters.get("wait_end_of_query", "0") not in ("", "0"),
        _start=start,
        _rest=body,
    )


def _scope(method: str, parameters: Mapping[str, str], headers: Message) -> Scope:
    values = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
    settings = {
        name: value
        for name, value in parameters.items()
        if name not in _TRANSPORT and name not in _REFUSED and not name.startswith("param_")
    }
    if method == "GET" and settings.get("readonly", "0") == "0":
        settings["readonly"] = "2"  # as a server has it: what a link can do changes nothing
    return Scope(parameters.get("database") or headers.get("X-ClickHouse-Database"), settings, values)


def credentials(target: str, headers: Message) -> Credentials:
    """Read the name and password: from ClickHouse's headers, basic authentication or the URL."""
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return Credentials(headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", ""))
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return Credentials("", "")
        return Credentials(user, password)
    parameters = url_parameters(target)
    return Credentials(parameters.get("user", "default"), parameters.get("password", ""))
