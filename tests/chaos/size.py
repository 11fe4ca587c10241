"""How much one seed is: the full one, and the short one for the tests."""

from typing import NamedTuple

PARTITIONS = 5
CROWD_HOME = 4
"""The home of nothing but the crowd, which is more than a partition may have open."""
MAX_OPEN = 300
CROWD = 380
IDLE_MS = 8_000
GRACE_MS = 3_000
GAP_MS = 1_000
SESSION_MS = 4_000
FREEZE_S = 11.0
"""Longer than idleness and than a session."""
OUTAGE_S = 16.0
"""Longer than a freeze."""


class Size(NamedTuple):
    """Events, seconds, workers."""

    name: str
    steps: int
    load_s: float
    run_steps: tuple[int, int]
    """The shortest and the longest run."""
    step_gap_s: tuple[float, float]
    late_s: tuple[float, float]
    """How long after its run's end a late event is sent."""
    crowds: int
    mixed: int
    """Records of NDJSON that mix runs."""
    streams: int
    others: int
    """Sinks, and tracers."""
    store_away_s: float
    backlog_s: float
    settle_s: float
    """So long the store may take to hold the ledger."""
    is_full: bool


FULL = Size("full", 100_000, 330.0, (5, 60), (0.1, 1.1), (5.0, 20.0), 18, 60, 3, 2, 60.0, 75.0, 240.0, is_full=True)
SHORT = Size("short", 8_000, 22.0, (5, 20), (0.1, 0.6), (3.5, 7.0), 2, 8, 2, 1, 0.0, 0.0, 90.0, is_full=False)
