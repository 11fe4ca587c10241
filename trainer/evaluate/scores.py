"""From rows to figures: every score of every row on every slice, and every row against every other.

Rules: the same draws of task groups serve all rows of a slice; a count of hits whose trajectories share no task group
has Wilson's interval, everything else that of the draws; where all draws say the same (none or all hit) the interval
is Wilson's over the task groups, for nothing is certain; what has no confidence is left out of the calibration, and
counts as least sure of all in the risk-coverage curve.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np
from pydantic import BaseModel

from .hits import METRICS, TARGETS, Kind, Row, is_invalid
from .labelled import LabelledTrajectory
from .slices import By, Slice
from .statistics import (
    DRAWS,
    Array,
    Estimate,
    auroc,
    brier,
    calibration_error,
    compared,
    draws_of,
    estimated,
    groups_differing,
    mean,
    risk_coverage,
    wilson,
)

SCARCE_CONFIDENCE = 2
"""With fewer there is no calibration to speak of."""


class Figure(BaseModel):
    """A figure with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class Accuracy(Figure):
    """A share of hits."""

    hits: float
    """A whole number, but for what is drawn by lot."""
    count: int


class Calibrated(BaseModel):
    """What the confidence is worth, if it is that of this target."""

    count: int
    """How many have one."""
    calibration_error: Figure
    brier: Figure
    auroc: Figure
    risk_coverage: Figure
    risk_coverage_constant: Figure
    """Of a confidence that is always the same."""
    risk_coverage_gain: Figure
    """How far the area is below that of a constant, on the same draws."""
    p: float | None


class Scores(BaseModel):
    """One row on one slice."""

    by: By
    slice: str
    count: int
    answered: int
    """Those where somebody was named."""
    invalid: int
    """Answers that could not be read, or named what isn't there."""
    accuracy: dict[str, Accuracy]
    calibration: dict[str, Calibrated]
    """By target; empty where the method gives no confidence."""
    input_tokens: Figure
    output_tokens: Figure
    cached_tokens: Figure
    """Per trajectory, like the seconds."""
    seconds: Figure


class RowScores(BaseModel):
    """One row on every slice."""

    name: str
    kind: Kind
    version: str
    note: str
    options: dict[str, str]
    scores: tuple[Scores, ...]


class Comparison(BaseModel):
    """How far one row is above another, on the same trajectories and the same draws."""

    by: By
    slice: str
    first: str
    second: str
    metric: str
    difference: float
    low: float | None
    high: float | None
    p: float
    """Of this comparison alone; with many, some are small by chance."""


class _Drawn:
    """A slice with its draws."""

    def __init__(self, items: Sequence[LabelledTrajectory], of: Slice, draws: int, seed: int) -> None:
        self.of = of
        self.places = np.array(of.places, dtype=np.intp)
        self.groups = [items[place].task_group for place in of.places]
        self.weights_D_N = draws_of(self.groups, draws, seed)
        self.group_count = len(set(self.groups))

    @property
    def has_groups(self) -> bool:
        return self.group_count < len(self.places)


def score(
    items: Sequence[LabelledTrajectory],
    rows: Sequence[Row],
    slices: Sequence[Slice],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[tuple[RowScores, ...], tuple[Comparison, ...]]:
    """Return every row's scores, and every two rows compared."""
    scores: list[list[Scores]] = [[] for _ in rows]
    comparisons: list[Comparison] = []
    for of in slices:
        drawn = _Drawn(items, of, draws, seed)
        for row, own in zip(rows, scores, strict=True):
            own.append(_scores(row, drawn))
        if of.by != "length":
            comparisons += _comparisons(rows, drawn)
    found = (_row_scores(row, own) for row, own in zip(rows, scores, strict=True))
    return tuple(found), tuple(comparisons)


def _row_scores(row: Row, scores: Sequence[Scores]) -> RowScores:
    return RowScores(
        name=row.name,
        kind=row.kind,
        version=row.version,
        note=row.note,
        options=row.options,
        scores=tuple(scores),
    )


def _scores(row: Row, drawn: _Drawn) -> Scores:
    findings = [row.findings[place] for place in drawn.of.places]
    tokens = [finding.tokens if finding is not None else None for finding in findings]
    return Scores(
        by=drawn.of.by,
        slice=drawn.of.name,
        count=len(findings),
        answered=sum(finding is not None and finding.agent is not None for finding in findings),
        invalid=sum(map(is_invalid, findings)),
        accuracy={metric: _accuracy(row.hits[metric][drawn.places], drawn) for metric in METRICS},
        calibration=_calibration(row, drawn),
        input_tokens=_average(drawn, [one.input if one else np.nan for one in tokens]),
        output_tokens=_average(drawn, [one.output if one else np.nan for one in tokens]),
        cached_tokens=_average(drawn, [one.cached if one else np.nan for one in tokens]),
        seconds=_average(drawn, row.seconds_N[drawn.places]),
    )


def _accuracy(hits_N: Array, drawn: _Drawn) -> Accuracy:
    hits, count = float(hits_N.sum()), len(hits_N)
    if not drawn.has_groups and np.isin(hits_N, (0.0, 1.0)).all():
        found = wilson(hits, count)
    else:
        found = estimated(partial(mean, values_N=hits_N), drawn.weights_D_N)
        if found.low == found.high and hits in {0.0, float(count)}:
            found = wilson(drawn.group_count if hits else 0, drawn.group_count)
    return Accuracy(**found._asdict(), hits=hits, count=count)


def _average(drawn: _Drawn, values: Sequence[float] | Array) -> Figure:
    values_N = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(values_N)
    if not there.any():
        return _figure(Estimate(None, None, None))
    return _figure(estimated(partial(mean, values_N=values_N[there]), drawn.weights_D_N[:, there]))


def _calibration(row: Row, drawn: _Drawn) -> dict[str, Calibrated]:
    confidence_N = row.confidence_N[drawn.places]
    if np.sum(~np.isnan(confidence_N)) < SCARCE_CONFIDENCE:
        return {}
    return {target: _calibrated(confidence_N, row.hits[target][drawn.places], drawn) for target in TARGETS}


def _calibrated(confidence_N: Array, right_N: Array, drawn: _Drawn) -> Calibrated:
    there = ~np.isnan(confidence_N)
    sure_D_N, sure = drawn.weights_D_N[:, there], {"confidence_N": confidence_N[there], "right_N": right_N[there]}
    curve = partial(risk_coverage, confidence_N=np.where(there, confidence_N, -1.0), right_N=right_N)
    constant = partial(mean, values_N=1 - right_N)
    gain = compared(constant, curve, drawn.weights_D_N, differing=drawn.group_count)
    return Calibrated(
        count=int(there.sum()),
        calibration_error=_figure(estimated(partial(calibration_error, **sure), sure_D_N)),
        brier=_figure(estimated(partial(brier, **sure), sure_D_N)),
        auroc=_figure(estimated(partial(auroc, **sure), sure_D_N)),
        risk_coverage=_figure(estimated(curve, drawn.weights_D_N)),
        risk_coverage_constant=_figure(estimated(constant, drawn.weights_D_N)),
        risk_coverage_gain=Figure(value=gain.value, low=gain.low, high=gain.high),
        p=gain.p,
    )


def _comparisons(rows: Sequence[Row], drawn: _Drawn) -> Iterator[Comparison]:
    for metric in TARGETS:
        for first, second in combinations(rows, 2):
            own_N, other_N = first.hits[metric][drawn.places], second.hits[metric][drawn.places]
            found = compared(
                partial(mean, values_N=own_N),
                partial(mean, values_N=other_N),
                drawn.weights_D_N,
                differing=groups_differing(drawn.groups, own_N, other_N),
            )
            yield Comparison(
                by=drawn.of.by,
                slice=drawn.of.name,
                first=first.name,
                second=second.name,
                metric=metric,
                difference=found.value,
                low=found.low,
                high=found.high,
                p=found.p,
            )


def _figure(found: Estimate) -> Figure:
    return Figure(**found._asdict())
