"""What blows and disturbances share while the load is sent: the fleet, its journals, and who is down on purpose."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ops.roles import Role

from .fleet import Fleet
from .journal import Journals
from .schedule import Disturbance
from .size import Size

TICK_S = 0.05
Say = Callable[[str], None]


@dataclass(slots=True)
class Scene:
    """One run under way."""

    seed: int
    size: Size
    fleet: Fleet
    journals: Journals
    say: Say
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """The load is sent."""
    calm: set[Disturbance] = field(default_factory=set)
    """What goes on while no blow may fall on streams workers: there might be nobody to take over."""
    stopped: set[str] = field(default_factory=set)
    """Workers that stand still after a blow."""

    def must_be_calm(self, role: Role) -> bool:
        """Whether no blow may fall on a role now."""
        return role is Role.STREAMS and bool(self.calm)

    async def pause(self, seconds: float) -> None:
        """Let time pass, but not beyond the load's end."""
        await self.until(self.over.is_set, seconds)

    async def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Wait until something holds; False when it does not in time."""
        deadline = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(TICK_S)
        return True

    async def need(self, holds: Callable[[], bool], within_s: float, otherwise: str) -> None:
        """Wait until something holds; raises when it does not in time."""
        if not await self.until(holds, within_s):
            raise AssertionError(f"{otherwise}; the logs are in {str(self.fleet.folder)!r}")
