"""Children that never outlive us."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import child

ROOT = Path(__file__).parents[2]
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def start(command: list[str], output: Path) -> child.Child:
    with output.open("ab") as opened:
        return child.start(command, opened)


def soon(happens: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not happens():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from ops import child\n"
        f"started = child.start({SLEEP!r}, open(sys.argv[1], 'ab'))\n"
        "print(started.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        time.sleep(0.3)
        assert is_running(pid)
        parent.kill()
    assert soon(lambda: not is_running(pid))


def test_a_child_leads_a_session_of_its_own(tmp_path: Path) -> None:
    started = start(SLEEP, tmp_path / "log")
    assert os.getsid(started.pid) == started.pid
    child.end(started)
    assert started.returncode == -signal.SIGKILL


def test_a_child_that_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    deaf, polite = start(DEAF, log), start(SLEEP, log)
    assert child.wait_until(lambda: child.tail(log) == "up", deaf, 10)
    child.end(polite, grace_s=10)
    assert polite.returncode == -signal.SIGTERM
    child.end(deaf, grace_s=0.2)
    assert deaf.returncode == -signal.SIGKILL
    child.end(deaf)  # ending it again does nothing


def test_waiting_ends_with_the_child(tmp_path: Path) -> None:
    log = tmp_path / "log"
    started = start([sys.executable, "-c", "print('no licence'); raise SystemExit(3)"], log)
    before = time.monotonic()
    assert not child.wait_until(lambda: False, started, within_s=60)
    assert time.monotonic() - before < 30
    assert child.tail(log) == "no licence"


def test_waiting_ends_with_its_time(tmp_path: Path) -> None:
    started = start(SLEEP, tmp_path / "log")
    assert not child.wait_until(lambda: False, started, within_s=0.1)
    child.end(started)


def test_a_port_is_free_until_somebody_listens() -> None:
    port = child.free_port()
    assert child.is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not child.is_free(port)
    assert child.is_free(port)


def test_nothing_was_said_where_there_is_no_file(tmp_path: Path) -> None:
    assert child.tail(tmp_path / "missing") == ""
