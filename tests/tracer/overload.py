"""Twice the failures that a tracer has the time for, and a kill -9 in the middle: who has a verdict, who has two.

    python -m tests.tracer.overload --minutes 10                   what waits for more than a minute is shed
    python -m tests.tracer.overload --minutes 10 --overdue next    it is traced next; takes twice as long

The tracer is a process of its own that takes a fixed time for every trace, so its capacity is known; the broker is a
real Kafka. Held against each other are what was acknowledged when it was sent, every verdict on the topic, what the
tracer noted before each trace, and what the group's last commit before the restart called begun: that alone was in
flight at the kill, and may be traced or judged a second time.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from ops.kafka.server import KafkaServer
from schemas import Verdict, VerdictStatus
from schemas.errors import KafkaUnavailableError
from tests.factories import step, trajectory
from tests.tracer.bench import SOURCE, Bench
from tests.tracer.scripted import noted
from tracer.kafka import committed_progress
from tracer.progress import decode

OVER = 2.0
"""So many times of what it can do."""
SLACK_S = 10.0
"""How much longer than the limit one may have waited: the tracer is away for a while."""
PATIENCE_S = 60.0
TICK_S = 0.05
LIVED_S = 1.0
"""How long the worker's start may take of the time before the kill."""

LAST_COMMIT_S = 0.3

Place = tuple[int, int]
"""Partition and offset."""
Say = Callable[[str], None]
Judged = Mapping[str, list[tuple[int, Verdict]]]
"""By trajectory id: each verdict with its partition, in the order of their offsets."""


class Plan(NamedTuple):
    """How much is sent, and to whom."""

    seconds: float
    concurrency: int = 8
    service_s: float = 0.2
    wait_s: float = 60.0
    overdue: Literal["next", "shed"] = "shed"
    window: int = 1_000
    """Failures that the tracer reads ahead; of those behind them it does not know how long they wait."""

    @property
    def capacity(self) -> float:
        """Traces a second."""
        return self.concurrency / self.service_s

    @property
    def patience_s(self) -> float:
        """How long after the last failure the last verdict may come."""
        return PATIENCE_S + (self.wait_s if self.overdue == "shed" else OVER * self.seconds)


@dataclass(slots=True)
class Report:
    """What came of it; `missing` and everything that is `twice` have to be 0."""

    failures: int
    verdicts: int
    missing: int
    traced_twice: int
    """Begun twice, without having been in flight at the kill."""
    judged_twice: int
    """With two verdicts, without having been in flight at the kill."""
    in_flight: int
    """Begun and not finished, as the broker knew it, when the tracer was killed."""
    again: int
    """Of those, traced twice: an answer that was not committed, or none."""
    oldest_s: float
    shed: int
    is_late: bool
    """Whether one waited longer than the limit after which it is shed."""
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether every failure has its verdict in time, and none is traced twice that was not in flight."""
        return not (self.missing or self.traced_twice or self.judged_twice or self.is_late)


def hold(plan: Plan, sent: Iterable[str], judged: Judged, begun: Iterable[str], in_flight: set[str]) -> Report:
    """Hold everything against what was sent."""
    ids = set(sent)
    twice = {one for one, count in Counter(begun).items() if count > 1}
    answers = [found[0][1] for one, found in judged.items() if one in ids]
    oldest_s = max((one.queued_ms + one.traced_ms for one in answers), default=0) / 1000
    return Report(
        failures=len(ids),
        verdicts=len(answers),
        missing=len(ids - judged.keys()),
        traced_twice=len(twice - in_flight),
        judged_twice=len({one for one, found in judged.items() if len(found) > 1} - in_flight),
        in_flight=len(in_flight),
        again=len(twice & in_flight),
        oldest_s=oldest_s,
        shed=sum(one.status is VerdictStatus.SHED for one in answers),
        is_late=plan.overdue == "shed" and oldest_s > plan.wait_s + SLACK_S,
    )


async def overload(bench: Bench, plan: Plan, say: Say = lambda _: None) -> Report:
    """Send too much, kill the tracer half-way, and wait until everything is judged."""
    began = time.monotonic()
    sent: dict[Place, str] = {}
    with contextlib.ExitStack() as ends:
        in_flight = await _sent_and_judged(bench, plan, say, sent, ends)
    await bench.read_all()
    flying = {sent[place] for place in in_flight}
    report = hold(plan, sent.values(), bench.verdicts, noted(bench.notes), flying)
    report.seconds = round(time.monotonic() - began, 1)
    return report


async def _sent_and_judged(
    bench: Bench, plan: Plan, say: Say, sent: dict[Place, str], ends: contextlib.ExitStack
) -> set[Place]:
    """Do all of it; return what was in flight at the kill."""
    worker = await _worker(bench, plan, ends)
    sending = asyncio.create_task(_send(bench, plan, sent))
    async with _reading(bench):
        await asyncio.sleep(plan.seconds / 2 + LIVED_S)
        worker.kill()
        await worker.wait()
        in_flight = await _in_flight(bench)
        say(f"killed, with {len(bench.verdicts):,} verdicts of {len(sent):,} failures and {len(in_flight)} in flight")
        worker = await _worker(bench, plan, ends)
        await sending
        say(f"{len(sent):,} failures are sent, {len(bench.verdicts):,} are judged")
        await _until_judged(bench, len(sent), plan.patience_s)
    worker.terminate()
    assert await worker.wait() == 0
    return in_flight


async def _worker(bench: Bench, plan: Plan, ends: contextlib.ExitStack) -> asyncio.subprocess.Process:
    """Start the tracer, which is gone when `ends` are."""
    worker = await bench.process(
        instance_id=bench.name,
        tracer_concurrency=plan.concurrency,
        tracer_wait_s=plan.wait_s,
        tracer_overdue=plan.overdue,
        tracer_window=plan.window,
    )
    ends.callback(_end, worker)
    return worker


def _end(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        worker.kill()


async def _send(bench: Bench, plan: Plan, sent: dict[Place, str]) -> None:
    """Send at twice the capacity, to all partitions in turn; note what the broker has, and where."""
    began, number = time.monotonic(), 0
    while (passed := time.monotonic() - began) < plan.seconds:
        due = int(passed * OVER * plan.capacity)
        await asyncio.gather(*(_send_one(bench, plan, one, sent) for one in range(number, due)))
        number = max(number, due)
        await asyncio.sleep(TICK_S)


async def _send_one(bench: Bench, plan: Plan, number: int, sent: dict[Place, str]) -> None:
    of = trajectory([step(bench.id(number), index) for index in range(3)], task=f"sleep {plan.service_s}")
    partition = bench.partitions[number % len(bench.partitions)].partition
    value = of.model_dump_json().encode()
    place = await bench.producer.send_and_wait(SOURCE.value, value, key=of.trajectory_id.encode(), partition=partition)
    sent[place.partition, place.offset] = of.trajectory_id


async def _in_flight(bench: Bench) -> set[Place]:
    """Return what the group's commits call begun and not finished, once none can be on its way any more."""
    await asyncio.sleep(LAST_COMMIT_S)
    found: set[Place] = set()
    for partition, commit in (await committed_progress(bench.group, bench.partitions)).items():
        known = decode(commit)
        assert known is not None, f"the commit of {partition} can't be read"
        found |= {(partition.partition, offset) for offset, attempts in known.unfinished.items() if attempts}
    return found


@contextlib.asynccontextmanager
async def _reading(bench: Bench) -> AsyncIterator[None]:
    """Read verdicts meanwhile."""

    async def read() -> None:
        while True:
            await bench.read_once(timeout_ms=200)

    task = asyncio.create_task(read())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _until_judged(bench: Bench, count: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while len(bench.verdicts) < count and time.monotonic() < deadline:
        await asyncio.sleep(TICK_S)


def main() -> int:
    """Run it; return the exit code."""
    arguments = _arguments()
    concurrency, service_s = arguments.concurrency, arguments.service
    plan = Plan(arguments.minutes * 60, concurrency, service_s, arguments.wait, arguments.overdue, arguments.window)
    try:
        report = asyncio.run(_run(plan, arguments.broker))
    except KafkaUnavailableError as error:
        print(f"no overload without a real Kafka: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps(asdict(report) | {"plan": plan._asdict(), "clean": report.is_clean}))
    else:
        Console(width=160).print(table(plan, report))
    return 0 if report.is_clean else 1


async def _run(plan: Plan, broker: str | None) -> Report:
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="overload-") as folder:
        if broker is not None:
            return await _on(broker, plan, Path(folder), say)
        with KafkaServer() as server:
            return await _on(server.bootstrap, plan, Path(folder), say)


async def _on(bootstrap: str, plan: Plan, folder: Path, say: Say) -> Report:
    bench = Bench(bootstrap, folder / "notes")
    bench.log = (folder / "worker.log").open("ab")
    await bench.open()
    say(f"{OVER * plan.capacity:.0f} failures a second for {plan.seconds:.0f} s; {plan.capacity:.0f} can be traced")
    try:
        return await overload(bench, plan, say)
    finally:
        await bench.close()


def table(plan: Plan, report: Report) -> Table:
    """Show it."""
    rate = OVER * plan.capacity
    shown = Table("", "", title=f"{plan.seconds:.0f} s of {rate:.0f} failures a second, one kill -9")
    limit = f" (limit {plan.wait_s:.0f} s)"
    lines = {
        "failures sent": f"{report.failures:,}",
        "with a verdict": f"{report.verdicts:,}",
        "missing": f"{report.missing:,}",
        "traced twice, not in flight at the kill": f"{report.traced_twice:,}",
        "judged twice, not in flight at the kill": f"{report.judged_twice:,}",
        "in flight at the kill": f"{report.in_flight:,}, of which traced twice {report.again:,}",
        "longest wait for a verdict": f"{report.oldest_s:.1f} s{limit if plan.overdue == 'shed' else ''}",
        "shed": f"{report.shed:,}",
        "took": f"{report.seconds:.0f} s",
    }
    for name, value in lines.items():
        shown.add_row(name, value)
    return shown


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.tracer.overload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long failures are sent")
    parser.add_argument("--concurrency", type=int, default=8, help="traces at once")
    parser.add_argument("--service", type=float, default=0.2, metavar="SECONDS", help="what one trace takes")
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="how long a failure may wait")
    parser.add_argument("--overdue", choices=("next", "shed"), default="shed", help="what happens to it then")
    parser.add_argument("--window", type=int, default=1_000, help="how many failures the tracer reads ahead")
    parser.add_argument("--broker", metavar="HOST:PORT", help="a Kafka to run on, instead of starting one")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
