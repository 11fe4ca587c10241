"""What happens beside the blows: broker and store go away and come back, workers leave, drain and fall behind, engines
lose their core.

Rules: each has its time, spread over the load; no streams worker stands still meanwhile, and none is struck, but
where only the store or an engine is hit.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from ops.roles import Role

from .cores import core_of
from .scene import TICK_S, Scene
from .schedule import Disturbance
from .size import OUTAGE_S

_SHORTEST_PAUSE_S = 2.0
_ELSE_S = 8.0
_D = Disturbance
_AMID_BLOWS = (_D.STORE_AWAY, _D.CORE)


class Disturbances:
    """Those of one run."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.happened: Counter[Disturbance] = Counter()
        self.outages: list[tuple[float, float]] = []
        """When broker or store were away."""

    async def happen(self, planned: Iterable[Disturbance]) -> None:
        """Let everything happen once, spread over the load."""
        scene, planned = self._scene, list(planned)
        takes = {
            _D.BROKER_AWAY: OUTAGE_S + 5, _D.STORE_AWAY: scene.size.store_away_s, _D.BACKLOG: scene.size.backlog_s
        }  # fmt: skip
        busy = sum(takes.get(one, _ELSE_S) for one in planned)
        pause = max(_SHORTEST_PAUSE_S, (scene.size.load_s - busy) / (len(planned) + 1))
        for one in planned:
            await scene.pause(pause)
            if scene.over.is_set():
                return
            scene.say(one.value)
            self.happened[one] += 1
            await self._happen(one)

    async def _happen(self, one: Disturbance) -> None:
        scene, doings = self._scene, self._doings()
        if one in _AMID_BLOWS:
            await doings[one]()
            return
        scene.calm.add(one)
        try:
            while scene.stopped & {member.name for member in scene.fleet.of(Role.STREAMS)}:
                await asyncio.sleep(TICK_S)
            await doings[one]()
        finally:
            scene.calm.discard(one)

    def _doings(self) -> dict[Disturbance, Callable[[], Awaitable[None]]]:
        fleet, size = self._scene.fleet, self._scene.size
        return {
            _D.BROKER_RESTART: lambda: self._away(fleet.broker.kill, fleet.broker.start, 0.0),
            _D.BROKER_AWAY: lambda: self._away(fleet.broker.kill, fleet.broker.start, OUTAGE_S),
            _D.STORE_AWAY: lambda: self._away(fleet.store.kill, fleet.store.start, size.store_away_s),
            _D.LEAVE_AND_JOIN: lambda: self._stop_and_start([fleet.of(Role.STREAMS)[-1].name]),
            _D.DRAIN: self._drain,
            _D.CORE: self._kill_core,
            _D.BACKLOG: self._backlog,
        }

    def away_ms(self) -> list[tuple[int, int]]:
        """Return when broker or store were away, in milliseconds since 1970."""
        epoch = time.time() - time.monotonic()
        return [(round((since + epoch) * 1000), round((until + epoch) * 1000)) for since, until in self.outages]

    async def _away(self, kill: Callable[[], None], start: Callable[[], None], seconds: float) -> None:
        since = time.monotonic()
        await asyncio.to_thread(kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(start)
        self.outages.append((since, time.monotonic()))

    async def _drain(self) -> None:
        """Drain the first of each role that does not stand still."""
        scene = self._scene
        awake = ([one.name for one in scene.fleet.of(role) if one.name not in scene.stopped] for role in Role)
        await self._stop_and_start([names[0] for names in awake if names])

    async def _stop_and_start(self, names: Iterable[str]) -> None:
        members = [self._scene.fleet.members[name] for name in names]
        await asyncio.gather(*(asyncio.to_thread(member.drain) for member in members))
        await asyncio.sleep(1.0)
        for member in members:
            member.start()

    async def _kill_core(self) -> None:
        """Kill the engine's core under a tracer that works, and see another in its place."""
        scene = self._scene
        await scene.need(lambda: bool(self._cores()), scene.size.ready_s, "no engine of a tracer came up")
        (worker, core), *_ = self._cores().items()
        os.kill(core, signal.SIGKILL)
        scene.say(f"killed the core {core} of {worker}")
        if not await scene.until(lambda: self._cores().get(worker, core) != core, scene.size.ready_s):
            scene.say(f"{worker} has no other core")

    def _cores(self) -> dict[str, int]:
        """Return the cores of the tracers that are up and do not stand still."""
        scene, found = self._scene, {}
        for member in scene.fleet.of(Role.TRACER):
            is_up = member.name in scene.journals.assigned(member.since) and member.name not in scene.stopped
            core = core_of(member.pid) if is_up and member.pid is not None else None
            if core is not None:
                found[member.name] = core
        return found

    async def _backlog(self) -> None:
        """Take all streams workers away, one by kill -9, while the senders go on."""
        first, *others = self._scene.fleet.of(Role.STREAMS)
        await asyncio.to_thread(first.kill)
        await asyncio.gather(*(asyncio.to_thread(member.drain) for member in others))
        await asyncio.sleep(self._scene.size.backlog_s)
        for member in (first, *others):
            member.start()
