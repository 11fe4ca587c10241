"""How much one seed is: the full one, the short one for the tests, and both again for a tracer with a model."""

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
    core_kills: int = 0
    """How often the core of a tracer's engine is killed."""
    ready_s: float = 60.0
    """So long all workers together may take to come up."""
    back_s: float = 30.0
    """So long a struck one may."""
    stop_s: float = 40.0
    """So long one may take to end in order."""


FULL = Size("full", 100_000, 330.0, (5, 60), (0.1, 1.1), (5.0, 20.0), 18, 60, 3, 2, 60.0, 75.0, 240.0, is_full=True)
SHORT = Size("short", 8_000, 22.0, (5, 20), (0.1, 0.6), (3.5, 7.0), 2, 8, 2, 1, 0.0, 0.0, 90.0, is_full=False)

MODEL = Size(
    "full, with a model", 3_000, 360.0, (3, 6), (0.1, 1.1), (5.0, 20.0), 0, 10, 3, 2, 40.0, 40.0, 1_200.0, is_full=True,
    core_kills=3, ready_s=240.0, back_s=120.0, stop_s=120.0,
)  # fmt: skip
"""A model on a CPU traces one or two a second, every run fails once more by its late outcome, and an engine takes half
a minute to start, longer beside others."""
SHORT_MODEL = Size(
    "short, with a model", 600, 90.0, (3, 6), (0.1, 0.6), (3.5, 7.0), 0, 3, 2, 1, 0.0, 0.0, 600.0, is_full=False,
    core_kills=1, ready_s=240.0, back_s=120.0, stop_s=120.0,
)  # fmt: skip


def size_of(*, short: bool, model: bool) -> Size:
    """Return the size of a run."""
    if model:
        return SHORT_MODEL if short else MODEL
    return SHORT if short else FULL
