"""Everything that an evaluation found, as one JSON object; the page and the table are made of it.

Rules: pure; a figure without an interval says that it has none; no step's content and no ground truth is in it.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from .hits import TARGETS, Row, named
from .labelled import Dataset, LabelledTrajectory
from .published import Substring
from .scores import Comparison, RowScores, score
from .slices import slices_of
from .statistics import BINS, DRAWS, bin_of

AGENTS_SHOWN = 10
OTHERS, NOBODY = "(others)", "(nobody)"


class Bin(BaseModel):
    """The answers of about one confidence."""

    confidence: float
    share_right: float
    count: int


class Confusion(BaseModel):
    """Who was named where whom was right; the commonest agents, the rest under one name."""

    gold: tuple[str, ...]
    named: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """By gold agent, then by named agent."""


class Picture(BaseModel):
    """What the plots of one row show."""

    name: str
    reliability: dict[str, tuple[Bin, ...]]
    """By target; empty where there is no confidence."""
    offsets: dict[int, int]
    """Named step less decisive step, and how often."""
    confusion: Confusion


class Report(BaseModel):
    """One evaluation."""

    dataset: str
    digest: str
    trajectories: int
    task_groups: int
    concurrency: int
    draws: int
    seed: int
    rows: tuple[RowScores, ...]
    comparisons: tuple[Comparison, ...]
    pictures: tuple[Picture, ...]
    substring: Substring | None = None
    """Where predictions were given: what the published scorer makes of them."""


def report(
    dataset: Dataset,
    rows: Sequence[Row],
    *,
    concurrency: int = 1,
    substring: Substring | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Report:
    """Score the rows and gather what is to be shown."""
    scores, comparisons = score(dataset.items, rows, slices_of(dataset.items), draws=draws, seed=seed)
    return Report(
        dataset=dataset.name,
        digest=dataset.digest,
        trajectories=len(dataset.items),
        task_groups=len({item.task_group for item in dataset.items}),
        concurrency=concurrency,
        draws=draws,
        seed=seed,
        rows=scores,
        comparisons=comparisons,
        pictures=tuple(_picture(dataset.items, row) for row in rows if any(row.findings)),
        substring=substring,
    )


def _picture(items: Sequence[LabelledTrajectory], row: Row) -> Picture:
    return Picture(
        name=row.name,
        reliability={target: _bins(row, target) for target in TARGETS} if _is_sure(row) else {},
        offsets=_offsets(items, row),
        confusion=_confusion(items, row),
    )


def _is_sure(row: Row) -> bool:
    return bool((~np.isnan(row.confidence_N)).any())


def _bins(row: Row, target: str) -> tuple[Bin, ...]:
    there = ~np.isnan(row.confidence_N)
    confidence_N, right_N = row.confidence_N[there], row.hits[target][there]
    bins_N = bin_of(confidence_N)
    return tuple(
        Bin(
            confidence=float(confidence_N[bins_N == one].mean()),
            share_right=float(right_N[bins_N == one].mean()),
            count=int((bins_N == one).sum()),
        )
        for one in range(BINS)
        if (bins_N == one).any()
    )


def _offsets(items: Sequence[LabelledTrajectory], row: Row) -> dict[int, int]:
    steps = [named(finding)[1] for finding in row.findings]
    pairs = zip(steps, items, strict=True)
    return dict(sorted(Counter(step - item.label.step_index for step, item in pairs if step is not None).items()))


def _confusion(items: Sequence[LabelledTrajectory], row: Row) -> Confusion:
    pairs = [(item.agent, named(finding)[0] or NOBODY) for item, finding in zip(items, row.findings, strict=True)]
    shown = _commonest([gold for gold, _ in pairs])
    counts = Counter((_listed(gold, shown), _listed(agent, shown)) for gold, agent in pairs)
    gold = [*shown, *([OTHERS] if any(of == OTHERS for of, _ in counts) else [])]
    others = [one for one in (OTHERS, NOBODY) if any(agent == one for _, agent in counts)]
    columns = [*shown, *others]
    return Confusion(
        gold=tuple(gold),
        named=tuple(columns),
        counts=tuple(tuple(counts[of, agent] for agent in columns) for of in gold),
    )


def _commonest(agents: Sequence[str]) -> list[str]:
    return [agent for agent, _ in Counter(agents).most_common(AGENTS_SHOWN)]


def _listed(agent: str, shown: Sequence[str]) -> str:
    return agent if agent in shown or agent == NOBODY else OTHERS
