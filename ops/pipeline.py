"""Every role as a process of its own, on the embedded broker and store or on real ones: what `up`, `run` and
`demo` stand on.

Rules: only addresses differ between embedded and real; a role that ends by itself is an error that shows what it
last said; at the end the roles drain in the order in which data passes them.
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
from ops.client import apply_topics
from ops.embedded.broker import EmbeddedBroker
from ops.embedded.store import EmbeddedStore
from ops.kafka.server import KafkaServer
from ops.query import connect
from ops.roles import Role
from schemas.errors import AgentracerError
from schemas.topics import DEFAULT_PARTITIONS
from streams.migrate import migrate

DATABASE = "agentracer"
_STOP_S = 20.0


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
            raise AgentracerError(f"the {self.role} worker ended with {code}; it said: {child.tail(self.log)}")


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
        self._where = where
        self._settings = dict(settings or {})
        self._partitions = partitions
        self._note = on_note
        self._stack = ExitStack()
        self.bootstrap = where.broker or ""
        self.clickhouse = where.clickhouse or ""
        self.is_embedded = where.broker is None and not where.kafka
        self.workers: dict[Role, Worker] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What a worker of this pipeline is started with."""
        own = {
            "AGENTRACER_BOOTSTRAP": self.bootstrap,
            "AGENTRACER_CLICKHOUSE_URL": self.clickhouse,
            "AGENTRACER_TRANSACTIONS": "false" if self.is_embedded else "true",
        }
        return {**os.environ, **own, **self._settings}

    def start(self) -> None:
        """Start what is not there, make topics and tables, and start the roles."""
        self._start_store()
        self._start_broker()
        self._note("making topics and tables")
        asyncio.run(apply_topics(self.bootstrap, partitions=self._partitions, replicas=1))
        with connect(self.clickhouse) as client:
            migrate(client, DATABASE)
        for role in Role:
            self._note(f"starting the {role} worker")
            self.workers[role] = Worker(role, self.environment)

    def _start_store(self) -> None:
        if self._where.clickhouse is None:
            self._note("starting the embedded store")
            store = self._stack.enter_context(EmbeddedStore(self._where.store, port=self._where.store_port))
            self.clickhouse = f"{store.url}/{DATABASE}"

    def _start_broker(self) -> None:
        if self._where.broker is not None:
            return
        if self._where.kafka:
            self._note("starting Apache Kafka")
            self.bootstrap = self._stack.enter_context(KafkaServer()).bootstrap
        else:
            self._note("starting the embedded broker (in memory: it promises nothing across a kill)")
            self.bootstrap = self._stack.enter_context(EmbeddedBroker(self._where.broker_port)).bootstrap

    def check(self) -> None:
        """Raise when a role has ended by itself."""
        for worker in self.workers.values():
            worker.check()

    def stop(self) -> None:
        """Drain the roles, then end what was started here."""
        for worker in self.workers.values():
            worker.drain()
        self._stack.close()

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
