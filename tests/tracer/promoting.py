"""A tracer whose scripted model follows promotions, in a process: `python promoting.py NOTES BASE killed|promoted`.

`killed` dies by kill -9 when its first verdict is on the topic and nothing of it is committed; `promoted` traces only
when an adapter serves.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ops.logs import log_to_stderr
from schemas import TopicName
from tests.chaos.worker import wrap
from tracer import kafka
from tracer.engines.scripted import ScriptedEngine, ScriptedServing
from tracer.methods.table import METHODS
from tracer.model import ModelOptions, ModelTracer
from tracer.settings import TracerSettings
from tracer.worker import run, run_in_loop

ANSWER = "<think>It was the first.</think><answer>A1 | 0</answer>"


class Patient(ScriptedEngine):
    """Leases nothing before an adapter serves."""

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[ScriptedServing]:
        while self.version == self.name:
            await asyncio.sleep(0.01)
        async with super().lease() as serving:
            yield serving


def dying(original: Any) -> Any:
    """Return a producer that takes its process with it once a verdict is on the topic."""

    class Producer(original):  # type: ignore[misc]  # aiokafka is untyped
        async def send_and_wait(self, topic: str, *arguments: Any, **record: Any) -> Any:
            sent = await super().send_and_wait(topic, *arguments, **record)
            if topic == TopicName.VERDICTS:
                os.kill(os.getpid(), signal.SIGKILL)
            return sent

    return Producer


async def main(base: str, how: str) -> None:
    """Trace until it is told to stop, or dies."""
    engine = (Patient if how == "promoted" else ScriptedEngine)(lambda _: ANSWER, name=base, is_held=False)
    if how == "killed":
        wrap(kafka, "AIOKafkaProducer", dying)
    await engine.start()
    await run(TracerSettings(), ModelTracer(engine, METHODS["agentracer"], ModelOptions(asks_class=False)))
    await engine.stop()


if __name__ == "__main__":
    log_to_stderr()
    run_in_loop(main(*sys.argv[2:]))
