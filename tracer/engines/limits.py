"""What an endpoint may be asked: how often, how much at once, for how much money, and how long to wait after a failure.

Rules: pure but for the turnstile, which waits; time is an argument; what may have been charged counts as charged.
"""

import contextlib
import email.utils
import heapq
import itertools
import math
from asyncio import Future, get_running_loop
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from schemas.errors import EngineError


@dataclass(slots=True)
class Pace:
    """So much a minute, spread evenly; None is without a limit."""

    a_minute: float | None
    _free_at: float = -math.inf

    def wait_s(self, now: float, amount: float) -> float:
        """Take an amount, and return how long to wait before using it."""
        if self.a_minute is None:
            return 0.0
        start = max(now, self._free_at)
        self._free_at = start + amount * 60.0 / self.a_minute
        return start - now


@dataclass(slots=True)
class Purse:
    """Money, in the currency of the prices, which are for a million tokens."""

    input_price: float
    output_price: float
    limit: float | None
    spent: float = 0.0
    held: float = 0.0
    """What requests under way may cost at most."""

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Return what so many tokens cost."""
        return (tokens_in * self.input_price + tokens_out * self.output_price) / 1_000_000

    def hold(self, most: float) -> None:
        """Set aside what a request may cost at most; raises EngineError where that passes the limit."""
        if self.limit is not None and self.spent + self.held + most > self.limit:
            what = (
                f"{self.spent:.4f} are spent and {self.held:.4f} held of {self.limit:.4f}, {most:.4f} more is too much"
            )
            raise EngineError(f"the cost limit of the endpoint is reached: {what}; raise cost_limit")
        self.held += most

    def pay(self, held: float, cost: float) -> None:
        """Book what a request cost instead of what was held for it."""
        self.held -= held
        self.spent += cost


@dataclass(slots=True)
class Turnstile:
    """So many at once; the others wait by priority, the lowest first, then in order."""

    free: int
    _waiting: list[tuple[int, int, "Future[None]"]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @contextlib.asynccontextmanager
    async def passed(self, priority: int) -> AsyncIterator[None]:
        """Hold one of the places."""
        await self._enter(priority)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, priority: int) -> None:
        if self.free > 0:
            self.free -= 1
            return
        turn: Future[None] = get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._numbers), turn))
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


def backoff_s(attempt: int, first_s: float, most_s: float, jitter: float) -> float:
    """Return how long to wait after a failed attempt (0 is the first): doubled each time, up to half of it random."""
    return min(first_s * 2.0 ** min(attempt, 30), most_s) * (0.5 + 0.5 * jitter)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how long an answer asks to wait: in milliseconds, seconds, or until a date; None where it does not."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) * unit_s
            return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(KeyError, ValueError, TypeError):
        return max(0.0, (email.utils.parsedate_to_datetime(headers["retry-after"]) - now).total_seconds())
    return None
