"""The whole path for a benchmark: every role a process of its own on a real Kafka and the embedded store, watched from
outside by what the system says of a process, by the broker's offsets and by the role's own metrics.
"""

import asyncio
import os
import time
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from benchmarks.alone import ROOT
from ops import child
from ops.client import apply_topics
from ops.embedded.store import EmbeddedStore
from ops.kafka.server import KafkaServer
from ops.pipeline import DATABASE, Worker
from ops.query import connect
from ops.roles import Role
from streams.migrate import migrate

GROUPS = ("streams", "tracer", "sink")
_SCRAPED_S = 5.0


def worker(role: Role, bootstrap: str, settings: Mapping[str, str]) -> Worker:
    """Start one role as `agentracer worker` does."""
    own = {"AGENTRACER_BOOTSTRAP": bootstrap, "PYTHONPATH": str(ROOT)}
    return Worker(role, {**os.environ, **own, **settings})


class WholePath:
    """Everything for a `with` block; stopped without draining, since nobody wants its data."""

    def __init__(self, settings: Mapping[str, str] | None = None, partitions: int = 4) -> None:
        self._settings = dict(settings or {})
        self._partitions = partitions
        self._stack = ExitStack()
        self.workers: dict[Role, Worker] = {}
        self._ports: dict[Role, int] = {}
        self.bootstrap = self.clickhouse = ""
        self.servers: dict[str, int] = {}
        """Process ids of broker and store."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.workers.values():
            child.end(one.process)
        self._stack.close()

    def _start(self) -> None:
        store = self._stack.enter_context(EmbeddedStore())
        kafka = self._stack.enter_context(KafkaServer())
        assert store._child is not None
        assert kafka._child is not None
        self.servers = {"store": store._child.pid, "kafka": kafka._child.pid}
        self.bootstrap, self.clickhouse = kafka.bootstrap, f"{store.url}/{DATABASE}"
        asyncio.run(apply_topics(self.bootstrap, partitions=self._partitions, replicas=1))
        with connect(self.clickhouse) as client:
            migrate(client, DATABASE)
        for role in Role:
            self._ports[role] = child.free_port()
            own = {"AGENTRACER_CLICKHOUSE_URL": self.clickhouse, "AGENTRACER_HEALTH_PORT": str(self._ports[role])}
            self.workers[role] = worker(role, self.bootstrap, {**self._settings, **own})
        self._wait_until_ready()

    def _wait_until_ready(self, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        waiting = set(Role)
        while waiting and time.monotonic() < deadline:
            self.check()
            waiting = {role for role in waiting if not self._is_ready(role)}
            time.sleep(0.1)
        if waiting:
            said = {role: self.workers[role].last_line() for role in waiting}
            raise RuntimeError(f"not ready within {within_s:.0f} s: {said}")

    def _is_ready(self, role: Role) -> bool:
        try:
            return bool(_get(self._ports[role], "readyz"))
        except OSError:
            return False

    def check(self) -> None:
        """Raise when a role has ended by itself."""
        for one in self.workers.values():
            one.check()

    def metric(self, role: Role, name: str) -> float:
        """Return the sum of a role's metric over its labels."""
        lines = _get(self._ports[role], "metrics").splitlines()
        own = (line for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return sum(float(line.rsplit(" ", 1)[1]) for line in own)

    def resident(self) -> dict[str, int]:
        """Return the bytes that each process has in memory."""
        pids = {role.value: one.process.pid for role, one in self.workers.items()} | self.servers
        return {name: resident(pid) for name, pid in pids.items()}


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=_SCRAPED_S) as answer:
        return str(answer.read().decode())


def resident(pid: int) -> int:
    """Return how many bytes a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def lags(bootstrap: str, groups: Iterable[str] = GROUPS) -> dict[str, int | None]:
    """Return by how many records each group's commits are behind the ends of what it reads; None before the first."""
    admin, consumer = AIOKafkaAdminClient(bootstrap_servers=bootstrap), AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await admin.start()
    await consumer.start()
    try:
        return {group: await _lag(admin, consumer, group) for group in groups}
    finally:
        await consumer.stop()
        await admin.close()


async def _lag(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, group: str) -> int | None:
    try:
        committed = await admin.list_consumer_group_offsets(group)
    except KafkaError:  # the group is not there yet
        return None
    if not committed:
        return None
    ends = await consumer.end_offsets(list(committed))
    behind = (int(end) - int(committed[place].offset) for place, end in ends.items())
    return sum(max(0, one) for one in behind)
