"""How far one partition is: what is committed, and what the commit says beside its offset.

Rules: pure; the commit's offset is the lowest unfinished one, so it never passes work that isn't done; the
metadata names every unfinished offset below the highest that was begun, with the attempts begun on it, so
everything else below that is known as finished and is not done again; an offset between two delivered ones that
was never delivered (a transaction's marker, an aborted or compacted record) counts as finished; the metadata
never outgrows Kafka's limit: what would not fit may not begin; metadata that isn't ours, or is damaged, counts
as none.
"""

import zlib
from itertools import pairwise
from typing import NamedTuple

METADATA_BYTES = 4096
"""What a broker takes by default (`offset.metadata.max.bytes`)."""
MARK = "agentracer1"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MAX_ATTEMPTS = 35


class Commit(NamedTuple):
    """What goes to the broker."""

    offset: int
    metadata: str


class Known(NamedTuple):
    """What a commit knew: below `high` only what is in `unfinished` (offset to attempts) is left to do."""

    high: int
    unfinished: dict[int, int]


def encode(offset: int, known: Known) -> str:
    """Write the metadata of a commit at `offset`; empty when the offset says it all."""
    if not known.unfinished or known.high <= offset:
        return ""
    body = f"{_base36(known.high - offset)};"
    last, entries = offset, []
    for unfinished, attempts in sorted(known.unfinished.items()):
        count = f"*{_DIGITS[min(attempts, _MAX_ATTEMPTS)]}" if attempts else ""
        entries.append(f"{_base36(unfinished - last)}{count}")
        last = unfinished
    body += ",".join(entries)
    return f"{MARK};{_checksum(offset, body)};{body}"


def decode(commit: Commit) -> Known | None:
    """Read a commit's metadata; None when it isn't ours or not of this offset."""
    if not commit.metadata:
        return Known(commit.offset, {})
    mark, _, rest = commit.metadata.partition(";")
    checksum, _, body = rest.partition(";")
    if mark != MARK or checksum != _checksum(commit.offset, body):
        return None
    try:
        return _read_body(commit.offset, body)
    except ValueError:
        return None


def _read_body(offset: int, body: str) -> Known:
    high, _, entries = body.partition(";")
    unfinished, last = {}, offset
    for entry in entries.split(","):
        delta, _, attempts = entry.partition("*")
        last += int(delta, 36)
        unfinished[last] = int(attempts or "0", 36)
    return Known(offset + int(high, 36), unfinished)


class Progress:
    """One partition's offsets: taken in rising order, begun and finished in any."""

    def __init__(self, committed: Commit | None = None) -> None:
        self._floor = committed.offset if committed else None
        known = decode(committed) if committed else None
        self.readable = committed is None or known is not None
        """Whether the metadata of the commit it goes on from was understood."""
        self.vanished = 0
        """How many offsets were still to be done when the broker no longer had them."""
        self._set(known or Known(self._floor or 0, {}))

    def _set(self, known: Known) -> None:
        self._open = dict(known.unfinished)
        self._owed = set(known.unfinished)  # open in an earlier life, not delivered in this one
        self._running: set[int] = set()
        self._high = known.high  # one past the highest that was ever begun
        self.next = known.high
        """One past the highest offset that was taken."""

    @property
    def position(self) -> int | None:
        """Where reading goes on; None before anything is known."""
        return None if self._floor is None else min(self._owed, default=self.next)

    @property
    def in_hand(self) -> int:
        """How many were delivered and are not done with."""
        return len(self._open) - len(self._owed)

    def take(self, offset: int) -> bool:
        """Note a delivered offset; whether it is still to be done, and not yet taken."""
        if self._floor is None or offset < self._floor:  # a first record, or a log that starts anew
            self._floor = offset
            self._set(Known(offset, {}))
        self._forget_owed_below(offset)
        if offset in self._owed:
            self._owed.discard(offset)
            return True
        if offset < self.next:
            return False
        self._open[offset] = 0
        self.next = offset + 1
        return True

    def may_begin(self, offset: int) -> bool:
        """Whether the metadata has room for one more in work, however the others end."""
        high = max(self._high, offset + 1)
        entries = sorted(unfinished for unfinished in self._open if unfinished < high)
        deltas = (after - before for before, after in pairwise(entries))
        header = len(MARK) + 1 + 8 + 1 + len(_base36(high - entries[0])) + 1
        return header + len("0*1") + sum(len(_base36(delta)) + len(",*1") for delta in deltas) <= METADATA_BYTES

    def begin(self, offset: int) -> int:
        """Count an attempt and return its number, from 1; the caller commits before it works."""
        self._open[offset] += 1
        self._running.add(offset)
        self._high = max(self._high, offset + 1)
        return self._open[offset]

    def finish(self, offset: int) -> None:
        """Note that an offset is done with."""
        self._open.pop(offset, None)
        self._running.discard(offset)

    def attempts(self, offset: int) -> int:
        """Return how many attempts were begun on an offset."""
        return self._open.get(offset, 0)

    def commit(self, *, hand_back: bool = False) -> Commit | None:
        """Return what to commit, or None before anything is known.

        With `hand_back` the attempts under way are not counted: the work stops because the partition moves or
        the worker does, which is nobody's crash.
        """
        if self._floor is None:
            return None
        offset = min(self._open, default=self.next)
        below = {
            unfinished: attempts - (hand_back and unfinished in self._running)
            for unfinished, attempts in self._open.items()
            if unfinished < self._high
        }
        return Commit(offset, encode(offset, Known(self._high, below)))

    def _forget_owed_below(self, offset: int) -> None:
        for owed in [owed for owed in self._owed if owed < offset]:
            self._owed.discard(owed)
            del self._open[owed]
            self.vanished += 1


def _checksum(offset: int, body: str) -> str:
    return f"{zlib.crc32(f'{offset};{body}'.encode()):08x}"


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits
