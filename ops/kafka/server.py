"""A real Apache Kafka on loopback: one node, broker and controller, with a data folder of its own.

It is what every test of a guarantee runs on, so it can be killed, restarted on the same data and port,
and frozen. Its settings are a server's defaults but for what one node needs, records of 32 MB, and
background work that a test can wait for (cleaning, retention, timed-out transactions).

`python -m ops.kafka.server fetch` fetches the jars ahead of time.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from ops import child
from ops.kafka.jars import KAFKA_VERSION, jars, java
from ops.kafka.ready import is_ready
from schemas.errors import KafkaUnavailableError

__all__ = ["KafkaServer", "jars"]

_HOST = "127.0.0.1"
_START_S = 60.0
_FORMAT_S = 60.0
_STOP_S = 20.0
_RECORD_BYTES = 34 * 1024 * 1024  # a record of 32 MB and what is around it
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


def settings(port: int, controller_port: int, log_folder: Path) -> dict[str, str]:
    """List the server's properties, by name."""
    return {
        # one node that is everything
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{_HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{_HOST}:{port},CONTROLLER://{_HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{_HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(log_folder),
        "auto.create.topics.enable": "false",
        # its internal topics, on one node
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # records of 32 MB
        "message.max.bytes": str(_RECORD_BYTES),
        "replica.fetch.max.bytes": str(_RECORD_BYTES),
        "socket.request.max.bytes": str(4 * _RECORD_BYTES),
        # what a test waits for comes soon
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "log.initial.task.delay.ms": "500",
        "log.cleaner.backoff.ms": "200",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "log.retention.check.interval.ms": "1000",
        "log.segment.delete.delay.ms": "1000",
        "broker.session.timeout.ms": "3000",  # a restart after a kill waits until the dead one's session is over
        "broker.heartbeat.interval.ms": "500",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    }


class KafkaServer:
    """One Kafka server that lives as long as the `with` block; so does its data, unless a folder is given."""

    def __init__(
        self, data: Path | None = None, *, port: int | None = None, overrides: Mapping[str, str] | None = None
    ) -> None:
        self.data = data if data is not None else Path(tempfile.mkdtemp(prefix="kafka-"))
        self._keep_data = data is not None
        self.port = child.free_port() if port is None else port
        self._controller_port = child.free_port()
        self._overrides = dict(overrides or {})
        self._child: child.Child | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"{_HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The file the server's output goes to."""
        return self.data / "server.log"

    def start(self) -> None:
        """Start on the data there is and wait until it serves; raises KafkaUnavailableError when it doesn't."""
        if not child.is_free(self.port):
            raise KafkaUnavailableError(f"{self.bootstrap!r} is taken: end what listens there, or name another port")
        properties = self._write_properties()
        if not (self._log_folder / "meta.properties").exists():
            self._format(properties)
        with self.log.open("ab") as output:
            self._child = child.start(self._java("kafka.Kafka", str(properties)), output)
        if not child.wait_until(lambda: is_ready(_HOST, self.port), self._child, _START_S):
            child.end(self._child)
            raise KafkaUnavailableError(
                f"Kafka did not serve on {self.bootstrap!r} within {_START_S:.0f} s; "
                f"the end of {str(self.log)!r}: {child.tail(self.log)!r}"
            )

    def stop(self) -> None:
        """End the server in order, so that its data are whole and its next start is quick."""
        if self._child is not None:
            self._signal(signal.SIGCONT)
            child.end(self._child, grace_s=_STOP_S)

    def kill(self) -> None:
        """Kill the server as a power cut would its process, and reap it."""
        if self._child is not None:
            child.end(self._child)

    def restart(self) -> None:
        """Start again on the same data and port, killing what still runs."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze the server: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keep_data:
            self.stop()
        else:
            self.kill()
            shutil.rmtree(self.data, ignore_errors=True)

    @property
    def _log_folder(self) -> Path:
        return self.data / "log"

    def _write_properties(self) -> Path:
        path = self.data / "server.properties"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = settings(self.port, self._controller_port, self._log_folder) | self._overrides
        path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        return path

    def _format(self, properties: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = self._java("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FORMAT_S)
        if done.returncode != 0:
            raise KafkaUnavailableError(
                f"Kafka could not format {str(self._log_folder)!r}: {(done.stdout + done.stderr).strip()[-1000:]!r}"
            )

    @staticmethod
    def _java(main_class: str, *arguments: str) -> list[str]:
        return [java(), *_JVM, "-cp", f"{jars()}/*", main_class, *arguments]

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.poll() is None:
            os.kill(self._child.pid, number)


def main(arguments: list[str]) -> int:
    """`fetch`: fetch the jars; 0 also where they can't be had, said loudly, since all else works without."""
    if arguments != ["fetch"]:
        print("usage: python -m ops.kafka.server fetch", file=sys.stderr)
        return 2
    try:
        print(f"the jars of Apache Kafka {KAFKA_VERSION} are in {jars()}")
    except KafkaUnavailableError as error:
        print(f"!!! NO APACHE KAFKA HERE, the tests of guarantees will be SKIPPED: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
