"""A scripted tracer with a candidate beside it, and a process to run both in: `python shadowed.py NOTES`."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from ops.logs import log_to_stderr
from schemas import Trajectory
from tests.tracer.scripted import Scripted
from tracer.protocol import Finding, Tracer
from tracer.rules import last_step
from tracer.settings import TracerSettings
from tracer.worker import run, run_in_loop


class Second(Scripted):
    """Tasks: `shadow exit` (the process dies), `shadow hang`, anything else is blamed on its last step."""

    version = "2"

    async def trace(self, trajectory: Trajectory) -> Finding:
        self._note("shadow", trajectory)
        if trajectory.task == "shadow exit":
            os._exit(9)
        if trajectory.task == "shadow hang":
            await asyncio.sleep(3_600)
        return last_step(trajectory)


@asynccontextmanager
async def second(notes: Path) -> AsyncIterator[Tracer]:
    """A candidate that is up at once."""
    yield Second(notes)


if __name__ == "__main__":
    log_to_stderr()
    folder = Path(sys.argv[1])
    run_in_loop(run(TracerSettings(), Scripted(folder), shadow=partial(second, folder)))
