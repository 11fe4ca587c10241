"""Commits for all works at once: whoever needs the broker to know something waits for the next commit.

Rules: one commit at a time, taken from the progress as it stands when it is sent, so a later one never says less;
none while the partitions are not ours; a refused one (the group has moved on) is sent again when they are; the
broker refuses whoever is no longer a member, so a commit is also how a worker that was frozen learns of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from .progress import Commit, Progress

Send = Callable[[Mapping[int, Commit]], Awaitable[bool]]
"""Sends a commit of several partitions; False when the group has moved on."""


class Commits:
    """The group commit of one worker."""

    def __init__(
        self, partitions: Mapping[int, Progress], send: Send, monotonic: Callable[[], float], fresh_s: float
    ) -> None:
        self._partitions = partitions
        self._send = send
        self._monotonic = monotonic
        self._fresh_s = fresh_s
        self._confirmed = -fresh_s
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._owned = asyncio.Event()
        self.standing: dict[int, Commit] = {}
        """What the broker has of each partition, as far as we know."""

    async def run(self) -> None:
        """Commit whenever something is wanted, for ever."""
        while True:
            await self._wanted.wait()
            await self._owned.wait()
            self._wanted.clear()
            async with self._lock:
                waiting, self._waiting = self._waiting, []
                if self._owned.is_set() and await self._commit(hand_back=False):
                    _resolve(waiting)
                else:
                    self._owned.clear()
                    self._waiting = waiting + self._waiting
                    self._wanted.set()

    def want(self) -> None:
        """Ask for a commit soon."""
        self._wanted.set()

    async def settle(self) -> None:
        """Wait until the broker has the progress as it stands now."""
        settled = asyncio.get_running_loop().create_future()
        self._waiting.append(settled)
        self._wanted.set()
        await settled

    async def sure(self) -> None:
        """Wait until the partitions are ours, and the broker has said so within the last `fresh_s` seconds."""
        while not self.owned or self._is_stale():
            await self._owned.wait()
            if self._is_stale():
                await self.settle()

    @property
    def owned(self) -> bool:
        """Whether the partitions are ours, as far as we know."""
        return self._owned.is_set()

    def own(self) -> None:
        """Begin owning the partitions, whose progress has just come from the broker."""
        self._confirmed = self._monotonic()
        self._owned.set()
        self.want()

    def disown(self) -> bool:
        """Stop owning the partitions; whether they were ours until now."""
        was_owned = self._owned.is_set()
        self._owned.clear()
        return was_owned

    async def hand_back(self) -> None:
        """Commit what is finished, without the attempts under way, as the last act of their owner."""
        async with self._lock:
            await self._commit(hand_back=True)

    async def _commit(self, *, hand_back: bool) -> bool:
        found = {number: progress.commit(hand_back=hand_back) for number, progress in self._partitions.items()}
        stale = self._is_stale()
        worth = {
            number: commit
            for number, commit in found.items()
            if commit is not None and (stale or commit != self.standing.get(number))
        }
        if worth and not await self._send(worth):
            return False
        self.standing |= worth
        if worth:
            self._confirmed = self._monotonic()
        return True

    def _is_stale(self) -> bool:
        return self._monotonic() - self._confirmed >= self._fresh_s


def _resolve(waiting: list[asyncio.Future[None]]) -> None:
    for settled in waiting:
        if not settled.done():
            settled.set_result(None)
