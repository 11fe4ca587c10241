"""What came of the seeds: one line each, and the table of fail points.

Rules: a run is clean when all that has to be 0 is, and a model that was asked for has named somebody; a point that no
seed has hit with some blow is not clean either, where that many full seeds ran.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from rich.table import Table

from schemas import VerdictStatus

from .check import Tally
from .model import is_model
from .points import Blow, Point
from .size import FULL

MUST = ("lost", "doubled", "altered", "verdicts_missing", "closed_early", "not_whole", "unplanned", "takeovers_wrong",
        "ends_wrong", "not_cleaned", "closed_behind_forwards")  # fmt: skip
ENOUGH_SEEDS = 10


@dataclass(slots=True)
class SeedReport:
    """One seed."""

    seed: int
    size: str
    is_static: bool = False
    events: int = 0
    steps: int = 0
    trajectories: int = 0
    seconds: float = 0.0
    hits: list[tuple[str, str, int]] = field(default_factory=list)
    """Point, blow, how often."""
    disturbances: dict[str, int] = field(default_factory=dict)
    unavailable_ends: int = 0
    """Workers that ended, in order, because broker or store were away."""
    tally: Tally = field(default_factory=Tally)
    is_short: bool = False
    tracer: str | None = None
    """The one that was asked for."""
    verdicts: dict[str, int] = field(default_factory=dict)
    """The standing ones, by tracer and status."""
    failure: str | None = None
    """What broke the run itself."""
    folder: str | None = None
    """Where its logs and journals are."""

    @property
    def is_clean(self) -> bool:
        """Whether all that has to be 0 is."""
        return self.failure is None and not any(self.counts().values()) and self.has_traced

    @property
    def has_traced(self) -> bool:
        """Whether the model that was asked for has named somebody at all."""
        return not is_model(self.tracer) or self.verdicts.get(f"{self.tracer} {VerdictStatus.ATTRIBUTED}", 0) > 0

    @property
    def command(self) -> str:
        """How to repeat it."""
        tracer = "" if self.tracer is None else f" --tracer {self.tracer}"
        return f"python -m tests.chaos --seeds {self.seed}{' --short' if self.is_short else ''}{tracer}"

    def counts(self) -> dict[str, int]:
        """Return what has to be 0."""
        return {name: getattr(self.tally, name) for name in MUST}

    def strikes(self, blow: Blow) -> int:
        """Return how many of a kind have fallen."""
        return sum(count for _, kind, count in self.hits if kind == blow)

    def to_json(self) -> dict[str, object]:
        """Return it for a machine."""
        return asdict(self) | {"clean": self.is_clean, "repeat": self.command}


def missed(reports: Iterable[SeedReport]) -> list[str]:
    """Return the points that were never hit with some blow."""
    counts = _hits(reports)
    return [f"{blow} at {point.value}" for point in Point for blow in Blow if not counts[point.value, blow.value]]


def all_clean(reports: Sequence[SeedReport]) -> bool:
    """Whether everything holds; ten full seeds have to have hit every point with every blow."""
    full = [one for one in reports if one.size == FULL.name]
    return all(one.is_clean for one in reports) and not (len(full) >= ENOUGH_SEEDS and missed(full))


def seeds_table(reports: Iterable[SeedReport]) -> Table:
    """One line a seed."""
    columns = ("seed", "events", "trajectories", "lost", "doubled", "no verdict", "early", "other", "kills", "stops",
               "beside", "takeovers", "re-read ≤", "cleaned", "behind forwards", "s")  # fmt: skip
    table = Table(*columns, title="seeds")
    for one in reports:
        tally = one.tally
        other = tally.wrong - tally.lost - tally.doubled - tally.verdicts_missing - tally.closed_early
        cells = (
            f"{one.seed}{' static' if one.is_static else ''}", one.events, one.trajectories, tally.lost, tally.doubled,
            tally.verdicts_missing, tally.closed_early, "broken" if one.failure else other, one.strikes(Blow.KILL),
            one.strikes(Blow.STOP), sum(one.disturbances.values()), tally.takeovers, tally.reread_most,
            tally.cleaner_removed, tally.closed_behind_forwards, round(one.seconds),
        )  # fmt: skip
        table.add_row(
            *(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells), style="" if one.is_clean else "red"
        )
    return table


def points_table(reports: Iterable[SeedReport]) -> Table:
    """How often each point was hit."""
    counts = _hits(reports)
    table = Table("fail point", *(blow.value for blow in Blow), title="hit with uncommitted work in hand")
    for point in Point:
        table.add_row(point.value, *(str(counts[point.value, blow.value]) for blow in Blow))
    return table


def _hits(reports: Iterable[SeedReport]) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for one in reports:
        for point, blow, count in one.hits:
            counts[point, blow] += count
    return counts
