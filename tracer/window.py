"""What one worker holds: trajectories read ahead, trajectories in work, each partition's progress; and who is next.

Rules: pure; whoever waits longer than the limit is next, the oldest first; else the systems take turns, and within
one the newest failure goes first, since somebody is looking at it now; the last attempt of a trajectory whose earlier
ones ended with their process runs alone, so that a poison never takes others with it and is known for certain;
reading stops when the window is full and goes on when it is half empty; of what is read ahead only so many bytes are
kept, the content of the oldest is read again when its turn comes.
"""

import json
from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .progress import Progress

STEPS = b',"steps":['
"""Where a trajectory's head ends; inside a JSON string the quotes would be escaped."""


class Record(NamedTuple):
    """One record of `failed-trajectories`, unread."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None

    @property
    def size(self) -> int:
        """How many bytes it holds in memory."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(slots=True, eq=False)
class Work:
    """One record, read ahead or in work."""

    record: Record
    progress: Progress
    share: str = ""
    """Whose turn it takes: tenant and system."""
    attempt: int = 0
    """The attempt under way, from 1; 0 while it is only read ahead."""
    is_dropped: bool = False
    """Whether its content has to be read again."""
    is_shed: bool = False
    """Whether it waited so long that it gets a cheap verdict."""


class Waits(NamedTuple):
    """How long a failure may wait for its turn, and what happens then."""

    limit_ms: int
    sheds: bool = False
    """Past the limit it gets a cheap verdict at once, beside what is in work; else it is next."""


class Window:
    """The bookkeeping of all of a worker's partitions."""

    def __init__(self, *, concurrency: int, records: int, size: int, attempts: int, waits: Waits) -> None:
        self._concurrency = concurrency
        self._records = records
        self._size = size
        self._attempts = attempts
        self._waits = waits
        self._partitions: dict[int, Progress] = {}
        self._waiting: dict[str, list[Work]] = {}
        """Of each share, the oldest first."""
        self._poisons: list[Work] = []
        """Waiting too, and to run alone."""
        self._in_work: set[Work] = set()
        self._turns: dict[str, int] = {}
        """When each share began something last, counted in turns."""
        self._turn = 0
        self._alone: Work | None = None
        self._bytes = 0
        self._full = False

    @property
    def partitions(self) -> dict[int, Progress]:
        """The progress of every partition held."""
        return self._partitions

    @property
    def waiting(self) -> int:
        """How many are read ahead and not begun."""
        return len(self._poisons) + sum(map(len, self._waiting.values()))

    @property
    def in_work(self) -> int:
        """How many are begun and not done with."""
        return len(self._in_work)

    @property
    def size(self) -> int:
        """How many bytes of content are kept, read ahead or in work."""
        return self._bytes

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest of all came to its topic; None with nothing in hand."""
        firsts = (works[0] for works in self._waiting.values())
        return min((work.record.timestamp_ms for work in (*firsts, *self._poisons, *self._in_work)), default=None)

    @property
    def room(self) -> int:
        """How many more records the next poll may bring."""
        return max(1, self._records - self.waiting)

    def is_full(self) -> bool:
        """Judge whether reading has to pause; once full, it has to until half is done."""
        busy = sum(work.record.size for work in self._in_work)
        if self.waiting >= self._records or busy >= self._size:
            self._full = True
        elif self.waiting <= self._records // 2 and busy <= self._size // 2:
            self._full = False
        return self._full

    def assign(self, partition: int, progress: Progress) -> None:
        """Hold a partition from here on."""
        self._partitions[partition] = progress

    def drop(self, partition: int) -> list[Work]:
        """Let a partition go with all its work; return what was in work."""
        self._partitions.pop(partition, None)
        dropped = [work for work in self._in_work if work.record.partition == partition]
        for work in [work for work in self._all_waiting() if work.record.partition == partition]:
            self._stop_waiting(work)
            self._bytes -= work.record.size
        for work in dropped:
            self._leave(work)
        return dropped

    def take(self, records: Iterable[Record]) -> int:
        """Hold what is still to be done, of partitions that are held; return how much the broker no longer had."""
        vanished = 0
        for record in records:
            progress = self._partitions[record.partition]
            before = progress.vanished
            if progress.take(record.offset):
                self._wait(Work(record, progress, share_of(record)))
                self._bytes += record.size
            vanished += progress.vanished - before
        self._keep_within_size()
        return vanished

    def _wait(self, work: Work) -> None:
        if self._runs_alone(work):
            self._poisons.append(work)
        else:
            insort(self._waiting.setdefault(work.share, []), work, key=_age)

    def _all_waiting(self) -> list[Work]:
        return [*self._poisons, *(work for works in self._waiting.values() for work in works)]

    def _stop_waiting(self, work: Work) -> None:
        if work in self._poisons:
            self._poisons.remove(work)
            return
        works = self._waiting[work.share]
        works.pop(-1 if works[-1] is work else works.index(work))
        if not works:
            del self._waiting[work.share]

    def _keep_within_size(self) -> None:
        """Let go of content, that of the oldest first: newer failures are nearer to their turn."""
        if self._bytes <= self._size:
            return
        for work in sorted(self._all_waiting(), key=_age):
            if self._bytes <= self._size:
                return
            self._bytes -= work.record.size
            work.record = work.record._replace(value=None, key=None)
            work.is_dropped = True
            self._bytes += work.record.size

    def read_again(self, work: Work, record: Record) -> None:
        """Put the content back that was let go of."""
        if work in self._in_work:
            self._bytes += record.size - work.record.size
        work.record, work.is_dropped = record, False

    def start(self, now_ms: int) -> list[Work]:
        """Begin whatever may begin now, and count its attempt; it waits for a commit before it works."""
        started = []
        for work in self._next(now_ms):
            if self._runs_alone(work):
                self._alone = work
            self._stop_waiting(work)
            self._turn += 1
            self._turns[work.share] = self._turn
            self._in_work.add(work)
            self.begin(work)
            started.append(work)
        if not self.waiting:
            self._turns = {}
        return started

    def _next(self, now_ms: int) -> Iterator[Work]:
        """Yield what may begin; the one yielded last has begun when the next is asked for."""
        if self._poisons:
            if not self._in_work and self._poisons[0].progress.may_begin(self._poisons[0].record.offset):
                yield self._poisons[0]
            return
        while self._alone is None and self._waiting:
            work = self._choose(now_ms)
            if work is None or (self._busy() >= self._concurrency and not work.is_shed):
                return
            yield work

    def _choose(self, now_ms: int) -> Work | None:
        """Return whose turn it is: the overdue, oldest first; else the newest of the share that waited longest.

        Where the commit's metadata has no room for that one, it has for the oldest, or for none.
        """
        chosen = oldest = min((works[0] for works in self._waiting.values()), key=_age)
        if now_ms - oldest.record.timestamp_ms > self._waits.limit_ms:
            oldest.is_shed = self._waits.sheds
        else:
            newest = (works[-1] for works in self._waiting.values())
            chosen = max(newest, key=lambda work: (-self._turns.get(work.share, 0), _age(work)))
        return next((work for work in (chosen, oldest) if work.progress.may_begin(work.record.offset)), None)

    def _busy(self) -> int:
        return sum(not work.is_shed for work in self._in_work)

    def begin(self, work: Work) -> None:
        """Count one more attempt of what is in work."""
        work.attempt = work.progress.begin(work.record.offset)

    def finish(self, work: Work) -> None:
        """Note that a work is done with; what was dropped meanwhile stays dropped."""
        work.progress.finish(work.record.offset)
        if work in self._in_work:
            self._leave(work)

    def _leave(self, work: Work) -> None:
        self._in_work.discard(work)
        self._bytes -= work.record.size
        if self._alone is work:
            self._alone = None

    def _runs_alone(self, work: Work) -> bool:
        return work.progress.attempts(work.record.offset) >= max(1, self._attempts - 1)


def _age(work: Work) -> tuple[int, int, int]:
    """Order from the oldest to the newest."""
    return work.record.timestamp_ms, work.record.partition, work.record.offset


def share_of(record: Record) -> str:
    """Return tenant and system, of which each takes its turn; a record that can't be read has a share of its own."""
    try:
        head = json.loads((record.value or b"").partition(STEPS)[0] + b"}")
        return f"{head['tenant']}\x1f{head['system']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
