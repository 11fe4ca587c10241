"""The command line as processes: run to its end, or started, watched, interrupted and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from typer.testing import CliRunner

from ops import child
from ops.cli import app
from ops.query import connect
from ops.run import FAST

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-P", "-m", "ops.cli"]
"""The command as it is installed: it finds nothing in the folder that it is called in."""
ROLES = 3
READY = "Ctrl-C ends it"


def environment(**more: str) -> dict[str, str]:
    """Return ours, without the settings that a developer's shell may hold."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTRACER_")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def agentracer(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return agentracer_in(ROOT, *arguments, **settings)


def agentracer_in(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, called in a folder."""
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=environment(**settings),
    )


def invoke(*arguments: str, **settings: str) -> Any:
    """Run one command in this process, which takes no start; an error of ours is the result's `exception`."""
    return CliRunner().invoke(app, list(arguments), env=settings, catch_exceptions=True)


def json_of(*arguments: str, **settings: str) -> Any:
    """Run one command that is to succeed and to print one JSON document, and nothing else, on standard output."""
    done = invoke(*arguments, "--json", **settings)
    assert done.exit_code == 0, (done.exception, done.stderr)
    return json.loads(done.stdout)


def assert_one_sentence(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Hold what a failed command said against what it may say."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    said = " ".join(done.stderr.split())
    for word in words:
        assert word in said


def soon(happens: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Wait until something happens."""
    deadline = time.monotonic() + within_s
    while not happens():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Started(NamedTuple):
    """A process below a command, as the system lists it."""

    pid: int
    parent: int
    state: str
    command: str

    @property
    def is_running(self) -> bool:
        """Whether it still runs, and under the same command."""
        now = next((one for one in processes() if one.pid == self.pid), None)
        return now is not None and now.state != "Z" and now.command == self.command

    @property
    def output(self) -> str:
        """What it has printed into the file that its parent gave it."""
        return Path(f"/proc/{self.pid}/fd/1").read_text(errors="replace")

    def word_after(self, option: str) -> str:
        """Return what one of its options was given."""
        words = self.command.split()
        return words[words.index(option) + 1]


def processes() -> list[Started]:
    """List all processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, ValueError):
            continue
        found.append(Started(int(folder.name), int(parent), state, command))
    return found


def below(pid: int) -> list[Started]:
    """List the running processes below one, those of processes that became another command included."""
    listed, parents, found = processes(), {pid}, []
    while further := [one for one in listed if one.parent in parents and one not in found]:
        found += further
        parents = {one.pid for one in further}
    return [one for one in found if one.state != "Z"]


class Running:
    """A command in the background, for a `with` block, at whose end it is killed if it still runs."""

    def __init__(self, *arguments: str, folder: Path, **settings: str) -> None:
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments], stdout=stdout, stderr=stderr, cwd=ROOT, env=environment(**settings)
            )

    @property
    def printed(self) -> str:
        """What it has printed on standard output."""
        return self._stdout.read_text()

    @property
    def said(self) -> str:
        """What it has said on standard error, in one line."""
        return " ".join(self._stderr.read_text().split())

    def wait_until(self, happens: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait until something happens while it runs."""
        assert soon(lambda: happens() or self.process.poll() is not None, within_s), self.said
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said}"

    def wait_until_sent(self, steps: int) -> None:
        """Wait until so many steps have come all the way into its own store."""

        def has_come() -> bool:
            if len(self.children()) < ROLES + 2:
                return False
            port = self.child("ops.embedded.endpoint").word_after("--port")
            with connect(f"http://127.0.0.1:{port}/agentracer") as client:
                return bool(client.query("SELECT count() FROM steps").result_rows[0][0] >= steps)

        self.wait_until(has_come)

    def children(self) -> list[Started]:
        """List what it has started and what still runs."""
        return [one for one in below(self.process.pid) if "ops/child.py" not in one.command]

    def child(self, words: str) -> Started:
        """Return the one of its children whose command has these words."""
        (found,) = (one for one in self.children() if words in one.command)
        return found

    def end(self, number: signal.Signals, within_s: float = 30.0) -> int:
        """Send it a signal, wait for its end and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(within_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Up(NamedTuple):
    """`agentracer up` on ports of its own."""

    running: Running
    broker: str
    clickhouse: str

    @property
    def settings(self) -> dict[str, str]:
        """What tells another command where it is."""
        return {"AGENTRACER_BOOTSTRAP": self.broker, "AGENTRACER_CLICKHOUSE_URL": self.clickhouse}

    def invoke(self, *arguments: str) -> Any:
        """Run one command against it."""
        return invoke(*arguments, **self.settings)

    def json_of(self, *arguments: str) -> Any:
        """Run one command against it that prints JSON."""
        return json_of(*arguments, **self.settings)

    def send(self, file: Path, *events: str) -> None:
        """Write events into a file and send it."""
        file.write_text("".join(f"{event}\n" for event in events))
        done = self.invoke("send", "jsonl", str(file))
        assert done.exit_code == 0, done.exception


def start_up(folder: Path, *arguments: str) -> Up:
    """Start `agentracer up` on free ports and wait until it is ready."""
    broker, store = child.free_port(), child.free_port()
    ports = ("--broker-port", str(broker), "--store-port", str(store))
    running = Running("up", *ports, *arguments, folder=folder, **FAST)
    running.wait_until(lambda: READY in running.said)
    return Up(running, f"127.0.0.1:{broker}", f"http://127.0.0.1:{store}/agentracer")
