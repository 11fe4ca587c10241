"""The brake: a partition full of lines that are no events stops its worker, rather than fill `dead-letters`.

Rules: only what is wrong with a line itself counts, not what is late, double, over a limit or astray; one good event
ends the row, and a share is judged over a whole window and only while most of what came last is refused: a few bad
senders among good ones stop nothing, and a sender that was mended lets the worker go on. The count is part of the
checkpoint and what trips it is not: a worker that is started again and again writes nothing more.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from schemas import DeadLetter, DeadLetterReason, TopicName
from schemas.errors import LimitError

RUBBISH = frozenset(
    {
        DeadLetterReason.EMPTY,
        DeadLetterReason.NOT_UTF8,
        DeadLetterReason.NOT_JSON,
        DeadLetterReason.DUPLICATE_KEY,
        DeadLetterReason.UNKNOWN_VERSION,
        DeadLetterReason.INVALID,
        DeadLetterReason.TIMESTAMP,
        DeadLetterReason.TOO_LARGE,
        DeadLetterReason.UNPROCESSABLE,
    }
)
"""Reasons that lie in the line, whatever else is on the topic."""
_COUNTED_AS_EVENTS = frozenset({DeadLetterReason.TIMESTAMP})
"""Read as an event before it was refused."""


class BrakeLimits(BaseModel):
    """How much rubbish is too much; `AGENTRACER_BRAKE__…`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    enabled: bool = True
    """Whether a partition full of rubbish stops its worker; without it everything refused becomes a dead letter."""
    consecutive: int = Field(default=1_000, gt=0)
    """So many refused lines with no good event between them stop the worker."""
    ratio: float = Field(default=0.5, gt=0, le=1)
    """So large a share of a window's lines refused stops the worker."""
    window: int = Field(default=10_000, gt=0)
    """Over about so many of the last lines the share is taken."""


class Count(NamedTuple):
    """What has come on a partition, as far as the brake remembers; it is written with each checkpoint."""

    row: int = 0
    """Refused lines since the last good event."""
    row_since: int = -1
    """Offset of the first of them."""
    lines: int = 0
    refused: int = 0
    """Of these lines."""
    refused_since: int = -1
    """Offset of the first refused one of the window."""


class Pending(Protocol):
    """What was folded and not written yet."""

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """In the order of the log."""

    @property
    def events(self) -> int:
        """Lines that were read as events."""


class Brake:
    """Counts one partition's lines, a stretch at a time."""

    def __init__(self, limits: BrakeLimits | None = None, count: Count | None = None) -> None:
        self.limits = limits or BrakeLimits()
        self.count = count or Count()
        self._pending: Pending | None = None
        self._letters = self._events = 0
        """How much of what is pending is counted."""
        self._trip: LimitError | None = None

    def has_tripped(self, partition: int, pending: Pending) -> bool:
        """Count what is new since the last look; whether it is too much."""
        if pending is not self._pending:
            self._pending, self._letters, self._events = pending, 0, 0
        letters, events = pending.dead_letters[self._letters :], pending.events - self._events
        self._letters, self._events = len(pending.dead_letters), pending.events
        refused = [one for one in letters if one.reason in RUBBISH]
        good = events - sum(one.reason in _COUNTED_AS_EVENTS for one in refused)
        if refused or good:
            self.count = _counted(self.count, refused, good, self.limits.window)
        if self.limits.enabled and self._trip is None and len(refused) > good:
            self._trip = _trip(partition, self.count, self.limits, refused)
        return self._trip is not None

    def check(self, partition: int, pending: Pending) -> None:
        """Raise LimitError when what is pending must not be written."""
        if self.has_tripped(partition, pending):
            assert self._trip is not None
            raise self._trip


def _counted(count: Count, refused: Sequence[DeadLetter], good: int, window: int) -> Count:
    """Add a stretch; a window that was full before it is halved first, so that old lines lose their weight."""
    row, row_since = (0, -1) if good else (count.row, count.row_since)
    lines, before, since = count.lines, count.refused, count.refused_since
    if lines >= window:
        lines, before, since = window // 2, before * window // (2 * lines), -1
    first = refused[0].offset if refused else -1
    if not good and refused:
        row, row_since = row + len(refused), row_since if row else first
    return Count(row, row_since, lines + good + len(refused), before + len(refused), first if since < 0 else since)


def _trip(partition: int, count: Count, limits: BrakeLimits, refused: Sequence[DeadLetter]) -> LimitError | None:
    if count.row >= limits.consecutive:
        lines, many, since, name = count.row, count.row, count.row_since, "CONSECUTIVE"
    elif count.lines >= limits.window and count.refused >= limits.ratio * count.lines:
        lines, many, since, name = count.lines, count.refused, count.refused_since, "RATIO"
    else:
        return None
    (reason, _), *_ = Counter(one.reason.value for one in refused).most_common(1)
    return LimitError(
        f"partition {partition} of {TopicName.STEP_EVENTS.value} is full of rubbish: {many} of the last {lines} lines "
        f"are no events, the first at offset {since}, most of them {reason!r}; mend the sender, then let the worker "
        f"past them with a higher AGENTRACER_BRAKE__{name} or AGENTRACER_BRAKE__ENABLED=false"
    )
