"""What a worker answers to those who watch it: its metrics, whether it lives, and whether it is ready.

    GET /metrics    Prometheus' text
    GET /healthz    200 while the role's loop turns, 503 once it has stood still for AGENTRACER_HEALTH_STILL_S
    GET /readyz     200 while it can work, 503 and why not: no partitions, no broker, no store

Rules: it listens only when asked to, and on loopback unless told otherwise; it answers from threads of its own, so a
loop that stands still can be seen to; whatever is sent to it costs an answer or a connection, never the worker; an
answer is one sentence, said in the status line too, where a probe's log shows it; requests are not logged.
"""

import socketserver
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from threading import Thread
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ops.roles import Role
from schemas.errors import SettingsError
from schemas.health import Health
from schemas.metrics import UNMETERED, Metrics
from streams.settings import ConfiguredSettings

Port = Annotated[int, Field(ge=1, le=65_535)]
Answer = tuple[HTTPStatus, str, bytes]
"""Status, content type, body."""
PLAIN = "text/plain; charset=utf-8"
PORT_VARIABLE = "AGENTRACER_HEALTH_PORT"
PATIENCE_S = 5.0
"""A client that says nothing for so long is let go."""


class HealthSettings(ConfiguredSettings):
    """Where a worker answers probes and Prometheus."""

    health_port: Annotated[Port | None, BeforeValidator(lambda value: value or None)] = None
    """Answer `/metrics`, `/healthz` and `/readyz` on this port; without it nothing listens. Below `up`, `run` or
    `demo` the streams worker has this port, the tracer the next, and the sink the one after."""
    health_host: str = "127.0.0.1"
    """The address to listen on; in a container 0.0.0.0, so that a scraper beside it gets an answer."""
    health_still_s: float = Field(default=120.0, gt=0)
    """A loop that has not turned for so long is dead; longer than any call of the broker may take."""


@contextmanager
def watched(role: Role, settings: HealthSettings) -> Iterator[tuple[Metrics, Health]]:
    """Give a role its metrics and health, answered for while the `with` block runs; raises SettingsError."""
    health = Health()
    if settings.health_port is None:
        yield UNMETERED, health
        return
    from ops.metrics import CONTENT_TYPE, PrometheusMetrics  # noqa: PLC0415 - only a worker that is scraped needs it

    metrics = PrometheusMetrics(role)

    def answer(path: str) -> Answer:
        match path:
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE, metrics.exposition()
            case "/healthz":
                return _said(health.not_alive(settings.health_still_s), "alive")
            case "/readyz":
                return _said(health.not_ready(), "ready")
            case _:
                return HTTPStatus.NOT_FOUND, PLAIN, b"there are /metrics, /healthz and /readyz\n"

    with _listening(settings.health_host, settings.health_port, answer):
        yield metrics, health


def own_port(role: Role, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that gives each role of one machine a port of its own, if one is asked for."""
    asked = environment.get(PORT_VARIABLE, "")
    if not (asked.isascii() and asked.isdecimal()):  # the role itself refuses what is no port
        return {}
    return {PORT_VARIABLE: str(int(asked) + list(Role).index(role))}


def _said(wrong: str | None, well: str) -> Answer:
    status = HTTPStatus.OK if wrong is None else HTTPStatus.SERVICE_UNAVAILABLE
    return status, PLAIN, f"{wrong or well}\n".encode()


@contextmanager
def _listening(host: str, port: int, answer: Callable[[str], Answer]) -> Iterator[None]:
    try:
        server = _Server(host, port, partial(_Handler, answer))
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"the port {port} of {host!r} can't be listened on ({why}): end what listens there, or "
            "set AGENTRACER_HEALTH_PORT and AGENTRACER_HEALTH_HOST to what is free"
        ) from error
    with server:
        Thread(target=server.serve_forever, name="health", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """With the library's five a client that comes with some others waits for a second or more."""
    block_on_close = False
    """A client that holds its connection does not hold the worker's end."""

    def __init__(self, host: str, port: int, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self.address_family = AF_INET6 if ":" in host else AF_INET
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Bind, without looking the address's name up, as HTTPServer would: that may take a name server's time."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Let go of a client that broke off; there is nothing to tell and nobody to tell it."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "agentracer"
    sys_version = ""
    timeout = PATIENCE_S

    def __init__(self, answer: Callable[[str], Answer], *request: Any) -> None:
        self._answer = answer
        super().__init__(*request)

    def do_GET(self) -> None:
        """Answer."""
        status, kind, body = self._answer(self.path.partition("?")[0])
        said = body.decode().strip() if status is HTTPStatus.SERVICE_UNAVAILABLE else None
        self.send_response(status, said)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log no requests."""
