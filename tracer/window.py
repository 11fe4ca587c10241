"""What one worker holds: trajectories read ahead, trajectories in work, and each partition's progress.

Rules: pure; work starts in the order of arrival, so many at once as `concurrency` allows; the last attempt of a
trajectory whose earlier ones ended with their process runs alone, so that a poison never takes others with it
and is known for certain; reading stops when the window is full and goes on when it is half empty.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .progress import Progress


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
    attempt: int = 0
    """The attempt under way, from 1; 0 while it is only read ahead."""


class Window:
    """The bookkeeping of all of a worker's partitions."""

    def __init__(self, *, concurrency: int, records: int, size: int, attempts: int) -> None:
        self._concurrency = concurrency
        self._records = records
        self._size = size
        self._attempts = attempts
        self._partitions: dict[int, Progress] = {}
        self._queue: deque[Work] = deque()
        self._in_work: set[Work] = set()
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
        return len(self._queue)

    @property
    def in_work(self) -> int:
        """How many are begun and not done with."""
        return len(self._in_work)

    @property
    def size(self) -> int:
        """How many bytes are read ahead or in work."""
        return self._bytes

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest of all came to its topic; None with nothing in hand."""
        return min((work.record.timestamp_ms for work in (*self._queue, *self._in_work)), default=None)

    @property
    def room(self) -> int:
        """How many more records the next poll may bring."""
        return max(1, self._records - len(self._queue))

    def is_full(self) -> bool:
        """Judge whether reading has to pause; once full, it has to until half is done."""
        if len(self._queue) >= self._records or self._bytes >= self._size:
            self._full = True
        elif len(self._queue) <= self._records // 2 and self._bytes <= self._size // 2:
            self._full = False
        return self._full

    def assign(self, partition: int, progress: Progress) -> None:
        """Hold a partition from here on."""
        self._partitions[partition] = progress

    def drop(self, partition: int) -> list[Work]:
        """Let a partition go with all its work; return what was in work."""
        self._partitions.pop(partition, None)
        dropped = [work for work in self._in_work if work.record.partition == partition]
        queued = [work for work in self._queue if work.record.partition == partition]
        self._queue = deque(work for work in self._queue if work.record.partition != partition)
        for work in dropped:
            self._leave(work)
        self._bytes -= sum(work.record.size for work in queued)
        return dropped

    def take(self, records: Iterable[Record]) -> int:
        """Queue what is still to be done, of partitions that are held; return how much the broker no longer had."""
        vanished = 0
        for record in records:
            progress = self._partitions[record.partition]
            before = progress.vanished
            if progress.take(record.offset):
                self._queue.append(Work(record, progress))
                self._bytes += record.size
            vanished += progress.vanished - before
        return vanished

    def start(self) -> list[Work]:
        """Begin whatever may begin now, and count its attempt; it waits for a commit before it works."""
        started = []
        while self._queue and self._may_start(self._queue[0]):
            work = self._queue.popleft()
            if self._runs_alone(work):
                self._alone = work
            self._in_work.add(work)
            self.begin(work)
            started.append(work)
        return started

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

    def _may_start(self, work: Work) -> bool:
        if self._alone is not None or len(self._in_work) >= self._concurrency:
            return False
        if self._in_work and self._runs_alone(work):
            return False
        return work.progress.may_begin(work.record.offset)

    def _runs_alone(self, work: Work) -> bool:
        return work.progress.attempts(work.record.offset) >= max(1, self._attempts - 1)
