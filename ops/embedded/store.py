"""The embedded store as a child process: start it, know its URL, end it."""

import os
import shutil
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from ops import child
from ops.embedded.handler import PASSWORD_VARIABLE
from schemas.errors import StoreUnavailableError

_HOST = "127.0.0.1"
_START_S = 30.0
_STOP_S = 15.0
_PING_S = 5.0
_ROOT = Path(__file__).parents[2]


class EmbeddedStore:
    """A ClickHouse endpoint on loopback for a `with` block; its data live as long, unless `path` is given."""

    def __init__(self, path: Path | None = None, *, port: int | None = None, password: str | None = None) -> None:
        self._keep_data = path is not None
        self.path = path if path is not None else Path(tempfile.mkdtemp(prefix="store-"))
        self.port = child.free_port() if port is None else port
        self._password = password
        self._output = tempfile.NamedTemporaryFile(prefix="store-", suffix=".log")  # noqa: SIM115 - till __exit__
        self._child: child.Child | None = None

    @property
    def url(self) -> str:
        """Where ClickHouse clients connect."""
        return f"http://{_HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The file the store's output goes to."""
        return Path(self._output.name)

    def start(self) -> None:
        """Start on the data there is and wait until it answers; raises StoreUnavailableError when it doesn't."""
        if not child.is_free(self.port):
            raise StoreUnavailableError(f"{self.url!r} is taken: end what listens there, or name another port")
        command = [sys.executable, "-m", "ops.embedded.endpoint", "--path", str(self.path), "--port", str(self.port)]
        self._child = child.start(command, self._output, environment=self._environment(), at_our_death=signal.SIGTERM)
        if not child.wait_until(lambda: answers(self.url), self._child, _START_S):
            self.stop()
            raise StoreUnavailableError(
                f"the embedded store did not answer on {self.url!r} within {_START_S:.0f} s; "
                f"it said: {child.tail(self.log)!r}"
            )

    def stop(self) -> None:
        """End the store in order: what it works on is finished first."""
        if self._child is not None:
            child.end(self._child, grace_s=_STOP_S)

    def kill(self) -> None:
        """Kill the store as a power cut would its process, and reap it."""
        if self._child is not None:
            child.end(self._child)

    def restart(self) -> None:
        """Start again on the same data and port, killing what still runs."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._output.close()
        if not self._keep_data:
            shutil.rmtree(self.path, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        """Take ours, so that this code is found from anywhere, and put the password where no `ps` shows it."""
        path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if part)
        kept = {name: value for name, value in os.environ.items() if name != PASSWORD_VARIABLE}
        return kept | {"PYTHONPATH": path} | ({PASSWORD_VARIABLE: self._password} if self._password else {})


def answers(url: str) -> bool:
    """Tell whether a ClickHouse, ours or a server, answers `/ping` at `url`."""
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=_PING_S) as answer:  # noqa: S310 - http:// by construction
            return bool(answer.read() == b"Ok.\n")
    except (OSError, urllib.error.URLError, ValueError):
        return False
