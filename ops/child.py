"""Start a server as a child process that never outlives us, wait until it serves, and end it.

Rules:
- On Linux the child dies with this process, however this process ends: between fork and exec it asks the
  kernel for a signal at its parent's death. It does so in a fresh interpreter (this same file, run as a
  script), because code between fork and exec in a process with threads may hang.
- The kernel means the *thread* that started the child. So one thread that lives as long as the process
  starts them all, and a child may be started from an event loop's executor.
- Every child leads a session of its own: Ctrl-C at the terminal reaches the command line alone, which then
  ends its children in the order it wants.
- What a child says goes to a file, so that a failed start can show it.
"""

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.01
_TAIL_BYTES = 4096

Child = subprocess.Popen[bytes]


def start(
    command: Sequence[str],
    output: IO[bytes],
    *,
    environment: Mapping[str, str] | None = None,
    at_our_death: signal.Signals = signal.SIGKILL,
) -> Child:
    """Start `command`, its output going to `output`; it gets `at_our_death` when this process is gone."""
    tied = [sys.executable, "-I", "-S", __file__, str(int(at_our_death)), str(os.getpid()), *command]
    return _starter(os.getpid()).submit(_popen, tied, output, environment).result()


@functools.cache
def _starter(_pid: int) -> ThreadPoolExecutor:
    """Keep the one thread of this process that starts children; a fork has a pid, so a thread, of its own."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="starts-children")


def _popen(command: Sequence[str], output: IO[bytes], environment: Mapping[str, str] | None) -> Child:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )


def wait_until(serves: Callable[[], bool], child: Child, within_s: float) -> bool:
    """Ask `serves` until it is true; False when `child` ends first or `within_s` seconds have passed."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if child.poll() is not None:
            return False
        if serves():
            return True
        time.sleep(_POLL_S)
    return False


def end(child: Child, grace_s: float = 0.0) -> None:
    """Ask `child` to end, kill it after `grace_s` seconds (at once by default), and reap it."""
    if grace_s > 0 and child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_s)
    child.kill()
    child.wait()


def free_port() -> int:
    """Find a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the loopback port `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def tail(output: Path) -> str:
    """Read the last lines that a child wrote to the file `output`, to be shown in an error."""
    if not output.is_file():
        return ""
    return output.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()


def _become(at_our_death: int, parent: int, command: Sequence[str]) -> None:
    """Tie this process's life to `parent`'s and turn into `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, at_our_death)
    if os.getppid() != parent:
        sys.exit(f"the process {parent!r} that started {command[0]!r} is gone")
    os.execvp(command[0], list(command))  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
