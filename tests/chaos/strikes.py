"""The lanes in which blows fall: a point is armed, a worker struck, and the next armed as soon as that one is back.

Rules: a point that nobody reaches in time is armed again later; a stop lasts longer than idleness and until another
worker has the partitions, and counts only if one has; when every blow of a lane has fallen, more fall at random.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable

from .journal import Hit, arm, disarm, hits
from .points import Blow
from .scene import TICK_S, Scene
from .schedule import Strike
from .size import FREEZE_S

_ARMED_S = 25.0
_CLAIMED_S = 10.0
_TAKEN_OVER_S = 25.0


class Strikes:
    """All lanes of one run."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._number = 0
        self.hits: list[Hit] = []
        """What counts."""

    async def lane(self, strikes: Iterable[Strike], number: int) -> None:
        """Let one blow fall after the other until the load is sent."""
        scene, waiting, rng = self._scene, deque(strikes), random.Random(f"lane {self._scene.seed} {number}")
        all_of_them = list(waiting)
        while not scene.over.is_set():
            if not waiting:
                await scene.pause(rng.uniform(1, 4))
            strike = waiting.popleft() if waiting else rng.choice(all_of_them)
            while scene.must_be_calm(strike.point.role) and not scene.over.is_set():
                await asyncio.sleep(TICK_S)
            if not scene.over.is_set() and not await self._strike(strike):
                waiting.append(strike)

    async def _strike(self, strike: Strike) -> bool:
        """Arm a point and see the struck worker back; False when nobody reached it in time."""
        self._number += 1
        hit = await self._hit(strike, self._number)
        if hit is None:
            return False
        self._scene.say(f"{strike.blow} {hit.worker} at {strike.point.value!r}")
        if strike.blow is Blow.STOP:
            await self._see_taken_over(hit)
        else:
            self.hits.append(hit)
            await self._see_back(hit)
        return True

    async def _hit(self, strike: Strike, number: int) -> Hit | None:
        scene, folder, role = self._scene, self._scene.fleet.folder, strike.point.role

        def found() -> list[Hit]:
            return [hit for hit in hits(folder) if hit.number == number]

        arm(folder, number, strike.point, strike.blow)
        await scene.until(lambda: bool(found()) or scene.over.is_set() or scene.must_be_calm(role), _ARMED_S)
        if not found() and disarm(folder, role, strike.blow):
            return None
        await scene.need(lambda: bool(found()), _CLAIMED_S, "a blow that was claimed never fell")
        return found()[0]

    async def _see_taken_over(self, hit: Hit) -> None:
        scene = self._scene
        scene.stopped.add(hit.worker)
        peers = {member.name for member in scene.fleet.of(hit.point.role)} - {hit.worker}

        def is_taken_over() -> bool:
            return time.monotonic() > hit.at + FREEZE_S and bool(peers & scene.journals.assigned(hit.at))

        if await scene.until(is_taken_over, _TAKEN_OVER_S):
            self.hits.append(hit)
        else:
            scene.say(f"nobody took over from {hit.worker}")
        scene.fleet.members[hit.worker].wake()
        scene.stopped.discard(hit.worker)

    async def _see_back(self, hit: Hit) -> None:
        scene = self._scene
        await scene.until(
            lambda: hit.worker in scene.journals.assigned(hit.at) or scene.must_be_calm(hit.point.role),
            scene.size.back_s,
        )
