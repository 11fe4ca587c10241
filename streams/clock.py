"""A partition's own time, in milliseconds, by which trajectories fall idle.

Rules: the broker's append times move it, and so do two answers of the broker in a row with nothing in them. A gap
that nobody watched (the broker was away, the worker was) counts as `max_gap_ms` at most towards idleness, so that
nothing is closed by an outage; `time_ms` itself follows the broker.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(slots=True)
class PartitionClock:
    """`time_ms` is the broker's time; `watched_ms` leaves out what nobody watched."""

    max_gap_ms: int
    time_ms: int = 0
    skipped_ms: int = 0

    @property
    def watched_ms(self) -> int:
        """Time that counts towards idleness."""
        return self.time_ms - self.skipped_ms

    def now(self) -> datetime:
        """Return the broker's time."""
        return datetime.fromtimestamp(self.time_ms / 1000, UTC)

    def appended(self, append_ms: int) -> None:
        """Move to the append time of a record that is being folded."""
        gap = append_ms - self.time_ms
        if gap <= 0:
            return
        if gap > self.max_gap_ms and self.time_ms:
            self.skipped_ms += gap - self.max_gap_ms
        self.time_ms = append_ms

    def passed(self, elapsed_ms: int) -> None:
        """Let the time between two empty answers pass; before the first record there is no time."""
        if self.time_ms:
            self.time_ms += max(0, min(elapsed_ms, self.max_gap_ms))
