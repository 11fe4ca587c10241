"""One seed from its start to its tally: everything comes up, the load is sent, the blows fall, and all of it settles.

Rules: blows and disturbances fall while the load is sent; then everything is healed, and the store has to come to
hold the ledger; then all workers end and start again from their state alone, and an outcome is sent for every
trajectory; what stands after that is held against the ledger.
"""

import asyncio
import logging
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from ops.roles import Role

from .check import Tally, check
from .disturb import Disturbances
from .fleet import End, Fleet
from .journal import DUMP, Journals, Kind
from .load import Sender, build, late_outcomes
from .model import is_model, prepare
from .read import failed_count, insert_again, read_rows, read_state, read_statuses, read_topics
from .report import SeedReport
from .scene import TICK_S, Say, Scene
from .schedule import schedule
from .senders import Ledger, LibrdkafkaSending, ProductSending, Sending
from .settle import missing
from .size import Size, size_of
from .strikes import Strikes

_EXCUSED_S = 45.0
"""So long after an outage a worker may end because of it."""
_LOOK_S = 0.5
_DUMP_S = 2.0
_LATE_RATE = 1_000.0


def one_seed(seed: int, *, short: bool, tracer: str | None = None) -> SeedReport:
    """Run one seed; its folder with logs and journals is kept when something is wrong."""
    size = size_of(short=short, model=is_model(tracer))
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))

    def say(what: str) -> None:
        print(f"seed {seed} {time.monotonic() - began:6.1f} s  {what}", file=sys.stderr, flush=True)

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is away is a hundred lines a second
    try:
        report = asyncio.run(_Seed(seed, size, folder, say, tracer).run())
    except Exception:  # noqa: BLE001 - the other seeds go on
        report = SeedReport(seed, size.name, failure=traceback.format_exc(), seconds=time.monotonic() - began)
    report.is_short, report.tracer = short, tracer
    if report.is_clean:
        shutil.rmtree(folder, ignore_errors=True)
        return report
    report.folder = str(folder)
    for data in ("kafka", "store"):
        shutil.rmtree(folder / data, ignore_errors=True)
    return report


class _Seed:
    """One run under way."""

    def __init__(self, seed: int, size: Size, folder: Path, say: Say, tracer: str | None) -> None:
        self._seed = seed
        self._size = size
        self._say = say
        self._load = build(seed, size)
        self._schedule = schedule(seed, size)
        self._tracer = tracer
        self._fleet = Fleet(seed, size, folder, is_static=self._schedule.is_static, tracer=tracer)
        self._scene = Scene(seed, size, self._fleet, Journals(folder), say)
        self._strikes = Strikes(self._scene)
        self._disturbances = Disturbances(self._scene)
        self._ledger = Ledger()
        self._said: dict[str, int] = {}

    async def run(self) -> SeedReport:
        """Run it; everything that was started is ended."""
        began = time.monotonic()
        if is_model(self._tracer):
            await asyncio.to_thread(prepare)
        with self._fleet.up():
            await self._fleet.prepare()
            await self._start_all()
            watching = asyncio.create_task(self._watch())
            try:
                await self._strike_while_sending()
                await self._settle("the load")
                await self._start_again()
                await self._send_late_outcomes()
                await self._settle("the late outcomes", late=True)
                await self._stop_all()
            finally:
                watching.cancel()
            tally = await self._check()
        return self._report(tally, time.monotonic() - began)

    # up and down

    async def _start_all(self, **settings: str) -> None:
        since = time.monotonic()
        for member in self._fleet.members.values():
            member.start(**settings)
        names = self._fleet.members.keys()
        await self._scene.need(
            lambda: names <= self._scene.journals.assigned(since), self._size.ready_s, "the workers did not come up"
        )

    async def _watch(self) -> None:
        """Start again whoever has ended."""
        while True:
            self._fleet.look()
            await asyncio.sleep(TICK_S)

    async def _stop_all(self) -> None:
        for role in Role:
            await asyncio.gather(*(asyncio.to_thread(member.drain) for member in self._fleet.of(role)))

    async def _start_again(self) -> None:
        """End all workers and start them from what their state alone says, with room for every late outcome."""
        self._say("stopping all workers, starting them from their state")
        await self._stop_all()
        await self._start_all(AGENTRACER_LIMITS__MAX_OPEN="200000")

    # the load

    async def _strike_while_sending(self) -> None:
        senders = self._senders()
        self._say(f"{len(self._load.runs):,} trajectories, {self._load.steps:,} steps in {self._size.load_s:.0f} s")
        for sender in senders:
            sender.start()
        lanes = [self._strikes.lane(lane, number) for number, lane in enumerate(self._schedule.lanes)]
        happening = [*lanes, self._disturbances.happen(self._schedule.disturbances)]
        tasks = [asyncio.create_task(one) for one in happening]
        try:
            for sender in senders:
                await _finished(sender, tasks)
        finally:
            self._scene.over.set()
        await asyncio.gather(*tasks)
        for member in self._fleet.members.values():
            member.wake()

    def _senders(self) -> list[Sending]:
        bootstrap, ledger = self._fleet.broker.bootstrap, self._ledger
        own = self._load.of(Sender.PRODUCT)
        return [
            ProductSending(bootstrap, own, ledger, len(own) / self._size.load_s),
            LibrdkafkaSending(bootstrap, self._load.of(Sender.LIBRDKAFKA), ledger),
        ]

    async def _send_late_outcomes(self) -> None:
        sender = ProductSending(self._fleet.broker.bootstrap, late_outcomes(self._load), self._ledger, _LATE_RATE)
        sender.start()
        await _finished(sender, [])

    # to the end

    async def _settle(self, what: str, *, late: bool = False) -> None:
        """Wait until the store holds the ledger, and in the end a verdict for every failed revision."""
        began, clickhouse = time.monotonic(), self._fleet.clickhouse
        deadline, failed, still = began + self._size.settle_s, None, ["everything"]
        while still and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
            still = await asyncio.to_thread(missing, clickhouse, self._ledger, late=late, failed=failed)
            if not still and late and failed is None:
                failed, still = await failed_count(self._fleet.broker.bootstrap), ["verdicts"]
        if still:
            (self._fleet.folder / DUMP).touch()
            await asyncio.sleep(_DUMP_S)
        said = f"still missing: {still}" if still else "all there"
        self._say(f"{what}: {said} after {time.monotonic() - began:.0f} s")

    async def _check(self) -> Tally:
        self._say("reading everything back")
        bootstrap, clickhouse = self._fleet.broker.bootstrap, self._fleet.clickhouse
        topics, state = await read_topics(bootstrap), await read_state(bootstrap)
        self._said = await asyncio.to_thread(read_statuses, clickhouse)
        once = await asyncio.to_thread(read_rows, clickhouse)
        await asyncio.to_thread(insert_again, clickhouse)
        twice = await asyncio.to_thread(read_rows, clickhouse)
        entries, strange = self._scene.journals.entries(), self._strange_ends()
        return check(
            self._ledger, self._load.runs, topics, (once, twice), state, entries, strange, self._disturbances.away_ms()
        )

    def _strange_ends(self) -> list[str]:
        """Name the ends that nothing excuses."""
        strange = (end for end in self._fleet.ends if not self._is_excused(end))
        return [f"{end.worker} ended with {end.code}: {end.said}" for end in strange]

    def _is_excused(self, end: End) -> bool:
        """Whether it ended because something was away, was struck while it drained, or had not come up yet."""
        if end.is_unavailable:
            return any(since <= end.at <= until + _EXCUSED_S for since, until in self._disturbances.outages)
        if end.code == -signal.SIGKILL:
            return any(hit.worker == end.worker and end.since <= hit.at <= end.at for hit in self._strikes.hits)
        return end.is_of_sigterm and not any(
            entry.worker == end.worker and entry.kind is Kind.ASSIGNED and end.since <= entry.at <= end.at
            for entry in self._scene.journals.entries()
        )

    def _report(self, tally: Tally, seconds: float) -> SeedReport:
        counts = Counter((hit.point.value, hit.blow.value) for hit in self._strikes.hits)
        return SeedReport(
            seed=self._seed,
            size=self._size.name,
            is_static=self._schedule.is_static,
            events=self._ledger.events,
            steps=len(self._ledger.steps),
            trajectories=len({trajectory_id for trajectory_id, _ in self._ledger.steps}),
            seconds=round(seconds, 1),
            hits=[(point, blow, count) for (point, blow), count in sorted(counts.items())],
            disturbances={one.value: count for one, count in self._disturbances.happened.items()},
            unavailable_ends=sum(end.is_unavailable for end in self._fleet.ends),
            verdicts=self._said,
            tally=tally,
        )


async def _finished(sender: Sending, tasks: list["asyncio.Task[None]"]) -> None:
    """Wait for a sender; a task that fails meanwhile ends the wait."""
    while sender.is_alive():
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(TICK_S)
    sender.finish()
