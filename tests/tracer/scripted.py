"""A tracer that does what a trajectory's task tells it to, and a process to run it in: `python scripted.py NOTES`.

Every trace is noted in a file when it begins and when it ends, so that a test sees what a killed worker did.
"""

import asyncio
import os
import sys
from pathlib import Path

from ops.logs import log_to_stderr
from schemas import Trajectory
from tracer.protocol import Finding
from tracer.rules import last_step
from tracer.settings import TracerSettings
from tracer.worker import run, run_in_loop


class Scripted:
    """Tasks: `sleep S`, `exit` (the process dies), `raise`, anything else is blamed on its last step."""

    name = "scripted"
    version = "1"

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    async def trace(self, trajectory: Trajectory) -> Finding:
        self._note("begin", trajectory)
        word, _, argument = (trajectory.task or "").partition(" ")
        if word == "exit":
            os._exit(9)
        if word == "raise":
            raise ConnectionResetError
        if word == "sleep":
            await asyncio.sleep(float(argument))
        self._note("end", trajectory)
        return last_step(trajectory)

    def _note(self, event: str, trajectory: Trajectory) -> None:
        with self._notes.open("a") as file:
            file.write(f"{event} {trajectory.trajectory_id} {os.getpid()}\n")


def noted(notes: Path, event: str = "begin") -> list[str]:
    """Return the ids of the trajectories that began or ended, in order."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [line.split()[1] for line in lines if line.split()[0] == event]


if __name__ == "__main__":
    log_to_stderr()
    run_in_loop(run(TracerSettings(), Scripted(Path(sys.argv[1]))))
