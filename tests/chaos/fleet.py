"""The processes of one run: a Kafka and a store of its own, the workers, and a supervisor that starts them again.

Rules: whoever was killed is back at once, whoever ended by itself after half a second, as under any supervisor; every
end that was not ours is kept, with what the worker last said; ports lie below those that the system gives to
connections, so that nobody takes a broker's while it is away.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from ops import child
from ops.cli import TERMINATED
from ops.client import apply_topics
from ops.embedded.store import EmbeddedStore
from ops.kafka.server import KafkaServer
from ops.pipeline import DATABASE
from ops.query import connect
from ops.roles import Role
from schemas import TopicName
from schemas.errors import UnavailableError
from streams.migrate import migrate
from tests.harness import SETTINGS

from .journal import FOLDER, NAME
from .model import worker_settings
from .size import GAP_MS, GRACE_MS, IDLE_MS, MAX_OPEN, PARTITIONS, SESSION_MS, Size

_ROOT = Path(__file__).parents[2]
_FIRST_PORT = 21_000
_PORTS_A_SEED = 20
_SEEDS_APART = 400
_RESTART_S = 0.5
_SAID = 1_500
YIELDS = 10
"""The niceness of tracers with an engine, which in production have a machine of their own."""
CLEANED_SOON = {
    "segment.ms": "2000",
    "segment.bytes": "1048576",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "5000",
    "min.compaction.lag.ms": "0",
}
"""So the cleaner is at `assembler-state` every few seconds; whoever reads it from its start takes less than that."""
CHAOS = SETTINGS | {
    "AGENTRACER_SESSION_TIMEOUT_MS": str(SESSION_MS),
    "AGENTRACER_HEARTBEAT_MS": "1000",
    "AGENTRACER_LIMITS__IDLE_MS": str(IDLE_MS),
    "AGENTRACER_LIMITS__GRACE_MS": str(GRACE_MS),
    "AGENTRACER_LIMITS__MAX_GAP_MS": str(GAP_MS),
    "AGENTRACER_LIMITS__MAX_OPEN": str(MAX_OPEN),
}


class End(NamedTuple):
    """A worker that ended without being struck."""

    worker: str
    since: float
    """When it was started."""
    at: float
    code: int
    said: str

    @property
    def is_of_sigterm(self) -> bool:
        """Whether it ended as a process does that is told to before it listens."""
        return self.code in {-signal.SIGTERM, TERMINATED}

    @property
    def is_unavailable(self) -> bool:
        """Whether it said that something outside was not there."""
        return self.code == UnavailableError.exit_code


class Member:
    """One worker of the run."""

    def __init__(
        self, role: Role, name: str, folder: Path, environment: Mapping[str, str], *, stop_s: float, niceness: int = 0
    ) -> None:
        self.role = role
        self.name = name
        self.ends: list[End] = []
        self.kills = 0
        self.is_wanted = False
        self._stop_s = stop_s
        self._niceness = niceness
        self._environment = {**environment, FOLDER: str(folder), NAME: name}
        self._output: IO[bytes] = (folder / f"{name}.log").open("ab")
        self._process: child.Child | None = None
        self._back_at = 0.0
        self.since = 0.0
        """When it was started last."""

    @property
    def pid(self) -> int | None:
        """Its process, while it has one."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, **settings: str) -> None:
        """Start it, and keep it running."""
        self._environment |= settings
        self.is_wanted = True
        self._run()

    def _run(self) -> None:
        self.since = time.monotonic()
        command = [sys.executable, "-m", "tests.chaos.worker", self.role.value]
        if self._niceness:
            command = ["nice", "-n", str(self._niceness), *command]
        self._process = child.start(command, self._output, environment=self._environment)

    def look(self) -> None:
        """Start it again where it has ended."""
        if not self.is_wanted or self._process is None:
            return
        code, now = self._process.poll(), time.monotonic()
        if code is None:
            return
        if self._back_at == 0.0:
            self._back_at = now + self._note(code)
        if now >= self._back_at:
            self._back_at = 0.0
            self._run()

    def _note(self, code: int) -> float:
        """Keep an end; return for how long it stays away."""
        if code == -signal.SIGKILL:
            self.kills += 1
            return 0.0
        self._keep(code)
        return _RESTART_S

    def _keep(self, code: int) -> None:
        said = child.tail(Path(self._output.name))[-_SAID:]
        self.ends.append(End(self.name, self.since, time.monotonic(), code, said))

    def kill(self) -> None:
        """End it by kill -9; it stays away."""
        self.is_wanted = False
        if self._process is not None:
            child.end(self._process)

    def drain(self) -> None:
        """Ask it to end, and wait; an end that is not in order is kept."""
        self.is_wanted = False
        if self._process is None or self._process.poll() is not None:
            return
        self.wake()
        child.end(self._process, grace_s=self._stop_s)
        code = self._process.returncode
        if code:
            self._keep(code)

    def wake(self) -> None:
        """Let it go on, if it was stopped."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)


class Fleet:
    """Everything that runs."""

    def __init__(self, seed: int, size: Size, folder: Path, *, is_static: bool, tracer: str | None = None) -> None:
        self.folder = folder
        port = _free_ports(seed)
        self.broker = KafkaServer(folder / "kafka", port=port, overrides=_own_controller(port))
        self.store = EmbeddedStore(folder / "store", port=port + 2)
        (folder / "kafka").mkdir()
        self.clickhouse = f"{self.store.url}/{DATABASE}"
        environment = {
            **os.environ,
            **CHAOS,
            "PYTHONPATH": str(_ROOT),
            "AGENTRACER_BOOTSTRAP": self.broker.bootstrap,
            "AGENTRACER_CLICKHOUSE_URL": self.clickhouse,
        }
        counts = {Role.STREAMS: size.streams, Role.SINK: size.others, Role.TRACER: size.others}
        self.members: dict[str, Member] = {}
        of_tracers = worker_settings(tracer) if tracer is not None else {}
        for role, name in ((role, f"{role}-{number}") for role, count in counts.items() for number in range(count)):
            own = {"AGENTRACER_INSTANCE_ID": name} if is_static else {}
            own |= of_tracers if role is Role.TRACER else {}
            yields = YIELDS if role is Role.TRACER and size.core_kills else 0
            self.members[name] = Member(role, name, folder, environment | own, stop_s=size.stop_s, niceness=yields)

    def of(self, role: Role) -> list[Member]:
        """Return a role's workers."""
        return [member for member in self.members.values() if member.role is role]

    @property
    def ends(self) -> list[End]:
        """Every end that was not ours."""
        return [end for member in self.members.values() for end in member.ends]

    async def prepare(self) -> None:
        """Make topics and tables."""
        await apply_topics(self.broker.bootstrap, partitions=PARTITIONS, replicas=1)
        _configure(self.broker.bootstrap, TopicName.ASSEMBLER_STATE, CLEANED_SOON)
        with connect(self.clickhouse) as client:
            migrate(client, DATABASE)

    def look(self) -> None:
        """Start again whoever has ended."""
        for member in self.members.values():
            member.look()

    @contextmanager
    def up(self) -> Iterator[None]:
        """Keep broker and store, and end everything in the end."""
        try:
            with self.store, self.broker:
                try:
                    yield
                finally:
                    for member in self.members.values():
                        member.wake()
                        member.kill()
        finally:
            self.broker.kill()


def _configure(bootstrap: str, topic: TopicName, settings: Mapping[str, str]) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic.value, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result(30)


def _free_ports(seed: int) -> int:
    """Return the first of three ports in a row that nobody uses, another for every seed that runs beside."""
    first = _FIRST_PORT + seed % _SEEDS_APART * _PORTS_A_SEED
    for port in range(first, first + _PORTS_A_SEED, 3):
        if all(map(child.is_free, range(port, port + 3))):
            return port
    raise AssertionError(f"no three free ports from {first!r} on; end what listens there")


def _own_controller(port: int) -> dict[str, str]:
    address = f"127.0.0.1:{port + 1}"
    return {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://{address}",
        "controller.quorum.voters": f"1@{address}",
    }
