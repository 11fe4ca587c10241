"""Every role as a process of its own, on the embedded broker and store or on real ones: what `up`, `run` and
`demo` stand on.

Rules: only addresses differ between embedded and real; a role or a server that ends by itself is an error that shows
what it last said; at the end the roles drain in the order in which data passes them, and whatever goes wrong with
that, nothing that was started here stays.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from ops import child
from ops.client import apply_topics, publish
from ops.config import checked_config
from ops.embedded.broker import EmbeddedBroker
from ops.embedded.store import EmbeddedStore
from ops.health import own_port
from ops.kafka.server import KafkaServer
from ops.query import connect
from ops.roles import Role
from schemas.config_file import PREFIX
from schemas.errors import (
    AgentracerError,
    BrokerUnavailableError,
    SettingsError,
    StoreUnavailableError,
    UnavailableError,
)
from schemas.topics import DEFAULT_PARTITIONS
from streams.migrate import Retention, migrate
from streams.sink_settings import SinkSettings, database_of

DATABASE = "agentracer"
QUICK_TO_JOIN = {"AGENTRACER_SESSION_TIMEOUT_MS": "4000", "AGENTRACER_HEARTBEAT_MS": "1000"}
"""The embedded broker lets a new member wait for half of its session timeout."""
_STOP_S = 20.0
_ROOT = Path(__file__).parents[1]
_LAST_LINE_CHARACTERS = 300


class Where(NamedTuple):
    """Which broker and store to use; None starts an embedded one."""

    broker: str | None = None
    clickhouse: str | None = None
    kafka: bool = False
    """Start a real Apache Kafka instead of the embedded broker."""
    store: Path | None = None
    """Where the embedded store keeps its data; None forgets them."""
    broker_port: int | None = None
    store_port: int | None = None

    def refuse_contradictions(self) -> None:
        """Raise SettingsError where one choice leaves no room for another."""
        if self.broker is not None and self.kafka:
            raise SettingsError("--broker and --kafka exclude each other: name a broker, or have one started")
        if self.clickhouse is not None and self.store is not None:
            raise SettingsError("--clickhouse and --store exclude each other: name a store, or have one started there")


class _Server(NamedTuple):
    """A broker or store that was started here."""

    name: str
    port: int
    log: Path
    error: type[UnavailableError]

    @property
    def is_gone(self) -> bool:
        """Whether nobody listens there any more."""
        return child.is_free(self.port)

    def check(self) -> None:
        """Raise when it has ended by itself."""
        if self.is_gone:
            raise self.error(f"{self.name} ended by itself; it said: {child.tail(self.log) or 'nothing'}")


class Worker:
    """One role's process and what it says."""

    def __init__(self, role: Role, environment: Mapping[str, str]) -> None:
        self.role = role
        self._environment = dict(environment)
        self._output: IO[bytes] = tempfile.NamedTemporaryFile(prefix=f"{role}-", suffix=".log")  # noqa: SIM115
        self.process = self._start()

    @property
    def log(self) -> Path:
        """The file its output goes to."""
        return Path(self._output.name)

    def _start(self) -> child.Child:
        return child.start(
            [sys.executable, "-m", "ops.cli", "worker", self.role], self._output, environment=self._environment
        )

    def restart(self) -> None:
        """Start it again, after it was killed."""
        child.end(self.process)
        self.process = self._start()

    def drain(self) -> None:
        """Ask it to end, and wait."""
        child.end(self.process, grace_s=_STOP_S)

    def check(self) -> None:
        """Raise when it has ended by itself."""
        code = self.process.poll()
        if code is not None:
            said = child.tail(self.log) or "nothing"
            raise AgentracerError(f"the {self.role} worker ended with {code}; it said: {said}")

    def last_line(self) -> str:
        """Return the last thing it said."""
        lines = child.tail(self.log).splitlines()
        return lines[-1][:_LAST_LINE_CHARACTERS] if lines else "nothing"


class Pipeline:
    """All roles, for a `with` block."""

    def __init__(
        self,
        where: Where,
        *,
        settings: Mapping[str, str] | None = None,
        partitions: int = DEFAULT_PARTITIONS,
        on_note: Callable[[str], None] = lambda _: None,
    ) -> None:
        where.refuse_contradictions()
        self._where = where
        self._settings = dict(settings or {})
        self._partitions = partitions
        self._note = on_note
        self._stack = ExitStack()
        self.bootstrap = where.broker or ""
        self.clickhouse = where.clickhouse or ""
        self.is_embedded = where.broker is None and not where.kafka
        self.workers: dict[Role, Worker] = {}
        self._servers: list[_Server] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a worker of this pipeline is started with."""
        own = {
            "AGENTRACER_BOOTSTRAP": self.bootstrap,
            "AGENTRACER_CLICKHOUSE_URL": self.clickhouse,
            "AGENTRACER_TRANSACTIONS": "false" if self.is_embedded else "true",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH")))),
        }
        return {**(_quick_to_join() if self.is_embedded else {}), **os.environ, **own, **self._settings}

    def start(self) -> None:
        """Start what is not there, make topics and tables, and start the roles."""
        self._start_store()
        self._start_broker()
        self._note("making topics and tables")
        asyncio.run(apply_topics(self.bootstrap, partitions=self._partitions, replicas=1))
        if not self.is_embedded:
            self._refuse_a_broker_without_transactions()
        with connect(self.clickhouse) as client:
            migrate(client, database_of(self.clickhouse), retention=retention())
        for role in Role:
            self._note(f"starting the {role} worker")
            self.workers[role] = Worker(role, {**self.environment, **own_port(role, self.environment)})

    def _start_store(self) -> None:
        if self._where.clickhouse is None:
            self._note("starting the embedded store")
            store = EmbeddedStore(self._where.store, port=self._where.store_port)
            self._stack.push(store)  # before it is started: a start that is interrupted leaves nothing either
            store.start()
            self.clickhouse = f"{store.url}/{DATABASE}"
            self._servers.append(_Server("the embedded store", store.port, store.log, StoreUnavailableError))

    def _start_broker(self) -> None:
        if self._where.broker is not None:
            return
        server: KafkaServer | EmbeddedBroker
        if self._where.kafka:
            self._note("starting Apache Kafka")
            name, server = "Apache Kafka", KafkaServer(port=self._where.broker_port)
        else:
            self._note("starting the embedded broker (in memory: it promises nothing across a kill)")
            name, server = "the embedded broker", EmbeddedBroker(self._where.broker_port)
        self._stack.push(server)
        server.start()
        self.bootstrap = server.bootstrap
        self._servers.append(_Server(name, server.port, server.log, BrokerUnavailableError))

    def _refuse_a_broker_without_transactions(self) -> None:
        """Find out before a role joins the groups there, and takes from those who are in them."""
        try:
            asyncio.run(publish(self.bootstrap, (), idempotent=True))
        except SettingsError as error:
            raise SettingsError(
                f"the broker at {self.bootstrap!r} knows no transactions, so no role of ours can work on it; where "
                "`agentracer up` works on an embedded one already, `agentracer send` is what to use"
            ) from error

    def check(self) -> None:
        """Raise when a server or a role has ended by itself."""
        for server in self._servers:
            server.check()
        for worker in self.workers.values():
            worker.check()

    def last_lines(self) -> str:
        """Return the last thing each role said."""
        return "; ".join(f"{role}: {worker.last_line()}" for role, worker in self.workers.items())

    def stop(self) -> None:
        """Drain the roles, then end what was started here, also when the draining is interrupted.

        Where a server of ours is gone nothing can be drained any more.
        """
        with self._stack:
            try:
                if not any(server.is_gone for server in self._servers):
                    for worker in self.workers.values():
                        worker.drain()
            finally:
                for worker in self.workers.values():
                    child.end(worker.process)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _quick_to_join() -> dict[str, str]:
    """Return what the settings file doesn't say, over which the environment would stand."""
    said = checked_config()
    return {name: value for name, value in QUICK_TO_JOIN.items() if name.removeprefix(PREFIX).lower() not in said}


def retention() -> Retention:
    """Return for how long rows are kept, as the sink's settings say."""
    settings = SinkSettings()
    return Retention(settings.step_retention_days, settings.retention_days)
