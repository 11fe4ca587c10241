"""A sender as a process of its own: whole runs at a pace, by the product's own publisher, one event a record.

It ends by itself when its runs have, or when it is told to stop, and answers with what was acknowledged. The time of
each run's last step is the moment before it is handed to the producer, by the clock that the store's answers are held
against.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Self, TypedDict

from benchmarks.alone import ROOT
from benchmarks.load import Late, Sent, fails, interleaved
from ops import child
from ops.client import publish
from ops.send import Ledger, Outgoing


class Order(NamedTuple):
    """What is to be sent."""

    bootstrap: str
    prefix: str
    runs: int
    steps: int
    open_trajectories: int
    rate: float | None = None
    """Events a second; None is as fast as it goes."""
    late: Late | None = None
    one_in: int = 5
    """Of so many runs one fails."""


class Done(TypedDict):
    """What was sent and acknowledged."""

    acknowledged: int
    steps: int
    runs: int
    failures: int
    began: float
    ended: float
    ends: dict[str, float]
    """When the last step of each failing run was sent."""


class Sender:
    """A sender's process for a `with` block."""

    def __init__(self, order: Order) -> None:
        self._answer: IO[bytes] = tempfile.NamedTemporaryFile(prefix="sender-", suffix=".json")  # noqa: SIM115
        self._log: IO[bytes] = tempfile.NamedTemporaryFile(prefix="sender-", suffix=".log")  # noqa: SIM115
        command = [sys.executable, "-m", "benchmarks.sender", self._answer.name, json.dumps(order)]
        self.process = child.start(command, self._log, environment={**os.environ, "PYTHONPATH": str(ROOT)})

    def is_done(self) -> bool:
        """Whether everything is sent; raises RuntimeError when it failed."""
        code = self.process.poll()
        if code:
            raise RuntimeError(f"the sender ended with {code}; it said: {child.tail(Path(self._log.name))}")
        return code is not None

    def done(self) -> Done:
        """Return what was sent, once it is."""
        self.process.wait()
        assert self.is_done()
        answer: Done = json.loads(Path(self._answer.name).read_bytes())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        child.end(self.process)


async def _send(order: Order) -> Done:
    done = Done(acknowledged=0, steps=0, runs=0, failures=0, began=time.time(), ended=0.0, ends={})
    ledger = Ledger(keep_ids=False)
    await publish(order.bootstrap, _outgoing(order, done), rate=order.rate, ledger=ledger)
    done["acknowledged"], done["ended"] = ledger.acknowledged, time.time()
    return done


def _outgoing(order: Order, done: Done) -> Iterator[Outgoing]:
    sent = interleaved(order.open_trajectories, order.steps, late=order.late, one_in=order.one_in, runs=order.runs)
    for one in sent:
        trajectory_id = order.prefix + one.key.decode()
        _enter(one, trajectory_id, done, order.one_in)
        value = one.value.replace(one.key, trajectory_id.encode())
        yield Outgoing(trajectory_id.encode(), value, trajectory_id, None, "step", 0)


def _enter(one: Sent, trajectory_id: str, done: Done, one_in: int) -> None:
    done["steps"] += not one.is_outcome
    done["runs"] += one.ends
    if one.ends and fails(one.key.decode(), one_in):
        done["failures"] += 1
        done["ends"][trajectory_id] = time.time()


def _main(answer: str, text: str) -> None:
    order = Order(*json.loads(text))
    if order.late is not None:
        order = order._replace(late=Late(*order.late))
    Path(answer).write_text(json.dumps(asyncio.run(_send(order))))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
