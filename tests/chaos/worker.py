"""A worker with fail points: `python -m tests.chaos.worker ROLE` is `agentracer worker ROLE`, struck where it is armed.

Rules: the product knows nothing of this: methods at the seams of its real classes are wrapped, and then the role's
own main runs; a seam that is gone stops the worker with its name; a point is passed on when there is no uncommitted
work in hand; what the journal needs (restored, folded, committed) is written from the same seams.
"""

import asyncio
import contextvars
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops import cli
from ops.roles import Role

from .journal import DUMP, FOLDER, NAME, Journal, Kind, armed, claim
from .points import SENT, Blow, Point

JUDGING_S = 0.1
"""What judging takes here; the tracers without a model are done in no time, with nothing else in work."""


class Planted:
    """The fail points of this process."""

    def __init__(self, folder: Path, name: str, role: Role) -> None:
        self._folder = folder
        self._name = name
        self._role = role
        self.journal = Journal(folder, name)

    def is_armed(self, point: Point) -> bool:
        """Whether whoever reaches this point is struck."""
        found = (armed(self._folder, self._role, blow) for blow in Blow)
        return any(one is not None and one[1] is point for one in found)

    def reach(self, point: Point, *, in_hand: bool) -> None:
        """Be struck here, if this is armed and there is uncommitted work."""
        if not in_hand:
            return
        for blow in Blow:
            found = armed(self._folder, self._role, blow)
            if found is not None and found[1] is point and claim(self._folder, found[0], point, blow, self._name):
                os.kill(os.getpid(), signal.SIGKILL if blow is Blow.KILL else signal.SIGSTOP)


def wrap(owner: Any, name: str, build: Callable[[Any], Any]) -> None:
    """Put what `build` makes of a method, or of a class that a module names, in its place."""
    original = getattr(owner, name, None)
    if original is None:
        sys.exit(f"{owner.__name__}.{name} is gone; tests/chaos/worker.py plants fail points there: name its successor")
    setattr(owner, name, build(original))


def plant(planted: Planted, role: Role) -> None:
    """Wrap the seams of a role."""
    match role:
        case Role.STREAMS:
            _plant_streams(planted)
        case Role.SINK:
            _plant_sink(planted)
        case Role.TRACER:
            _plant_tracer(planted)


def _plant_streams(planted: Planted) -> None:
    from streams import kafka  # noqa: PLC0415 - a role imports what it needs
    from streams.delivery import BatchConsumer  # noqa: PLC0415
    from streams.partitions import Partitions  # noqa: PLC0415

    writing: contextvars.ContextVar[Any] = contextvars.ContextVar("writing", default=None)

    def is_writing() -> bool:
        checkpoint = writing.get()
        return checkpoint is not None and checkpoint.events > 0

    wrap(Partitions, "fold", functools.partial(_fold, planted))
    wrap(Partitions, "take_over", functools.partial(_take_over, planted))
    wrap(BatchConsumer, "commit_to", functools.partial(_commit_to, planted))
    wrap(kafka.PartitionWriter, "write", functools.partial(_write, planted, writing))
    wrap(kafka, "AIOKafkaProducer", functools.partial(_producer, planted, is_writing))


def _is_ahead(held: Any) -> bool:
    return held is not None and held.assembler.next_offset != held.written_offset


def _fold(planted: Planted, original: Any) -> Any:
    async def fold(self: Any, batch: Any) -> None:
        held = self.held.get(batch.partition)
        is_ours = held is not None and held.epoch == batch.epoch
        if is_ours and batch.number == 0:
            planted.journal.write(Kind.FIRST, batch.partition, batch.records[0].offset)
        await original(self, batch)
        if is_ours and self.held.get(batch.partition) is held:
            planted.journal.write(Kind.FOLDED, batch.partition, held.assembler.next_offset)
            planted.reach(Point.FOLDED, in_hand=_is_ahead(held))

    return fold


def _take_over(planted: Planted, original: Any) -> Any:
    async def take_over(self: Any, partitions: Any, epoch: int) -> Any:
        starts = await original(self, partitions, epoch)
        for partition, offset in starts.items():
            planted.journal.write(Kind.RESTORED, partition, offset)
        planted.journal.write(Kind.ASSIGNED, offset=len(starts))
        return starts

    return take_over


def _commit_to(planted: Planted, original: Any) -> Any:
    async def commit_to(self: Any, offsets: Any) -> None:
        await original(self, offsets)
        held = self.app.partitions.held.values()
        planted.reach(Point.AFTER_GROUP, in_hand=any(map(_is_ahead, held)))

    return commit_to


def _write(planted: Planted, writing: contextvars.ContextVar[Any], original: Any) -> Any:
    async def write(self: Any, checkpoint: Any) -> Any:
        token = writing.set(checkpoint)
        try:
            places = await original(self, checkpoint)
        finally:
            writing.reset(token)
        planted.journal.write(Kind.COMMITTED, self.partition, checkpoint.source.offset)
        planted.reach(Point.AFTER_COMMIT, in_hand=checkpoint.events > 0)
        return places

    return write


def _producer(planted: Planted, is_writing: Callable[[], bool], original: Any) -> Any:
    class Producer(original):  # type: ignore[misc] # aiokafka is untyped
        async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
            sent = await super().send_batch(batch, topic, partition=partition)
            point = SENT[topic]  # type: ignore[index] # a StrEnum's values are found by their text
            if is_writing() and planted.is_armed(point):
                await asyncio.wait({sent})
                planted.reach(point, in_hand=True)
            return sent

        async def commit_transaction(self) -> None:
            planted.reach(Point.BEFORE_COMMIT, in_hand=is_writing())
            await super().commit_transaction()

    return Producer


def _plant_sink(planted: Planted) -> None:
    from streams import drain, sink  # noqa: PLC0415

    def insert(original: Any) -> Any:
        def inserted(self: Any, table: Any, rows: Any, token: str) -> Any:
            planted.reach(Point.BEFORE_INSERT, in_hand=bool(rows))
            refused = original(self, table, rows, token)
            planted.reach(Point.AFTER_INSERT, in_hand=bool(rows))
            return refused

        return inserted

    wrap(sink.Store, "insert", insert)
    wrap(drain, "AIOKafkaConsumer", functools.partial(_consumer, planted, _sink_in_hand, Point.AFTER_SINK_COMMIT))


def _sink_in_hand(read: dict[Any, int], offsets: dict[Any, Any]) -> bool:
    """Whether more has been read than was committed."""
    return any(offset >= offsets[tp] for tp, offset in read.items() if tp in offsets)


def _plant_tracer(planted: Planted) -> None:
    from tracer import kafka  # noqa: PLC0415
    from tracer.commits import Commits  # noqa: PLC0415
    from tracer.trace import Judge  # noqa: PLC0415

    finished: list[None] = []
    """Verdicts that were sent since the last commit."""

    def settle(original: Any) -> Any:
        async def settled(self: Any) -> None:
            await original(self)
            planted.reach(Point.ATTEMPTED, in_hand=True)

        return settled

    def judge(original: Any) -> Any:
        async def judged(self: Any, *arguments: Any, **named: Any) -> Any:
            answer = await original(self, *arguments, **named)
            await asyncio.sleep(JUDGING_S)
            planted.reach(Point.JUDGED, in_hand=True)
            return answer

        return judged

    def producer(original: Any) -> Any:
        class Producer(original):  # type: ignore[misc] # aiokafka is untyped
            async def send_and_wait(self, *arguments: Any, **record: Any) -> Any:
                sent = await super().send_and_wait(*arguments, **record)
                finished.append(None)
                planted.reach(Point.VERDICT_SENT, in_hand=True)
                return sent

        return Producer

    def in_hand(_: dict[Any, int], offsets: dict[Any, Any]) -> bool:
        has_finished, has_others = bool(finished), any(metadata for _, metadata in offsets.values())
        finished.clear()
        return has_finished and has_others

    wrap(Commits, "settle", settle)
    wrap(Judge, "judge", judge)
    wrap(kafka, "AIOKafkaProducer", producer)
    wrap(kafka, "AIOKafkaConsumer", functools.partial(_consumer, planted, in_hand, Point.AFTER_TRACER_COMMIT))


def _consumer(planted: Planted, in_hand: Callable[[Any, Any], bool], committed: Point, original: Any) -> Any:
    class Consumer(original):  # type: ignore[misc] # aiokafka is untyped
        def subscribe(self, topics: Any, *, listener: Any) -> None:
            assigned = listener.on_partitions_assigned

            async def on_partitions_assigned(partitions: Any) -> None:
                self.read: dict[Any, int] = {}
                await assigned(partitions)
                planted.journal.write(Kind.ASSIGNED, offset=len(partitions))

            listener.on_partitions_assigned = on_partitions_assigned
            super().subscribe(topics, listener=listener)

        async def getmany(self, *partitions: Any, **options: Any) -> Any:
            found = await super().getmany(*partitions, **options)
            self.read = self.read | {tp: records[-1].offset for tp, records in found.items()}
            return found

        async def commit(self, offsets: Any) -> None:
            await super().commit(offsets)
            planted.reach(committed, in_hand=in_hand(self.read, offsets))

    Consumer.read = {}
    return Consumer


def dump_when_asked(folder: Path, name: str) -> None:
    """Write the stacks of all tasks, once they are asked for: a worker that hangs says where."""
    while not (folder / DUMP).exists():
        time.sleep(0.5)
    with (folder / f"stacks-{name}.txt").open("w") as file:
        for task in list(asyncio.tasks._all_tasks):  # type: ignore[attr-defined] # of every loop, from outside of them
            task.print_stack(file=file)


def main() -> None:
    """Plant, then be the worker."""
    role = Role(sys.argv[1])
    planted = Planted(Path(os.environ[FOLDER]), os.environ[NAME], role)
    plant(planted, role)
    planted.journal.write(Kind.STARTED)
    arguments = Path(os.environ[FOLDER]), os.environ[NAME]
    threading.Thread(target=dump_when_asked, args=arguments, name="dump", daemon=True).start()
    sys.argv = ["agentracer", "worker", role.value]
    cli.main()


if __name__ == "__main__":
    main()
