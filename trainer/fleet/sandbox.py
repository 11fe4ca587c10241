"""Runs a candidate program on inputs in a process of its own, under limits of time, memory and output.

Rules: a program takes a list of whole numbers and returns one; no program can hang or fill the caller, and what it
does wrong is an output; it never sees what is expected of it; the same program on the same inputs runs once. It is a
guard against mistakes, not a jail: the process has the rights of its user, may read and write files and reach the
network, and what it puts into a session of its own outlives it (as root, starting processes is not limited at all).
"""

import os
import select
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

WALL_SECONDS = 5.0
CHILD = str(Path(__file__).with_name("sandbox_child.py"))
ERROR_CHARACTERS = 160
OUT_OF_LIMITS = "TimeoutError: it ran past its limits and was ended"
Inputs = tuple[tuple[int, ...], ...]


class Output(NamedTuple):
    """What the program returned for one input, or the error that it ended in."""

    value: int | None
    error: str | None = None


@lru_cache(maxsize=4096)
def run(source: str, entry: str, inputs: Inputs) -> tuple[Output, ...]:
    """Return the program's output for every input, in order."""
    with TemporaryFile("w+") as question, TemporaryFile("w+", errors="replace") as answer:
        question.write(ascii((source, entry, inputs)))
        question.seek(0)
        died = _wait([sys.executable, "-I", "-S", "-B", CHILD], question.fileno(), answer.fileno())
        answer.seek(0)
        lines = answer.read().splitlines()
    if died or len(lines) != len(inputs):
        return tuple(Output(None, died or "it left no answer") for _ in inputs)
    return tuple(map(_read, lines))


def _wait(command: list[str], stdin: int, stdout: int) -> str | None:
    """Wait for the process, but not for long; return how it died, if it did."""
    process = subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, env={}, cwd="/", start_new_session=True
    )
    try:
        ended = _ends(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # what it started ends with it
        code = process.wait()
    if not ended or code in {-signal.SIGXCPU, -signal.SIGKILL}:
        return OUT_OF_LIMITS
    return f"the process ended with code {code}" if code else None


def _ends(pid: int) -> bool:
    """Wait on a process's descriptor: to ask again and again takes longer than most programs run."""
    watched, ends = os.pidfd_open(pid), select.poll()
    try:
        ends.register(watched, select.POLLIN)
        return bool(ends.poll(WALL_SECONDS * 1_000))
    finally:
        os.close(watched)


def _read(line: str) -> Output:
    try:
        return Output(int(line))
    except ValueError:
        return Output(None, line.removeprefix("!")[:ERROR_CHARACTERS])
