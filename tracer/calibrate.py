"""How often a tracer that says "this sure" is right: a map from raw confidence to a share, fitted on labels.

    temperature   the log-odds times one number
    platt         the log-odds times one number, plus another
    isotonic      steps that only rise, by pooling neighbours that fall (pool adjacent violators)

Rules: pure; a map never falls, so it changes no ranking; too few labels are refused; what is fitted says for which
method and prompt, and goes nowhere else; the labels it is fitted on are never the ones it is scored on.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal, NamedTuple, Self, assert_never

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from schemas.errors import SettingsError

LEAST_LABELS = 50
FILE = "calibration.json"
_EDGE = 1e-6
"""Raw confidences are held this far from 0 and 1, where log-odds end."""
_RIDGE = 1e-3
"""How firmly a fit that the labels leave open stays near the map that changes nothing."""
_ROUNDS = 100

Knots = tuple[tuple[float, float], ...]


class Pair(NamedTuple):
    """One scored verdict."""

    raw: float
    is_right: bool


class Kind(StrEnum):
    """How the map is made."""

    TEMPERATURE = "temperature"
    PLATT = "platt"
    ISOTONIC = "isotonic"


class Calibration(BaseModel):
    """A fitted map, stored as JSON beside the adapter it was fitted for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    kind: Kind
    method: str
    prompt_version: str
    labels: int
    """How many it was fitted on."""
    fitted_on: str = ""
    """Which labels, in words."""
    slope: float = 1.0
    intercept: float = 0.0
    knots: Knots = ()
    """Isotonic: raw and share, rising; straight lines between, level outside."""

    @model_validator(mode="after")
    def _has_knots(self) -> Self:
        if (self.kind is Kind.ISOTONIC) != bool(self.knots):
            raise ValueError("an isotonic calibration has knots, and no other has; fit it again")
        return self

    @property
    def id(self) -> str:
        """A short hash of what it does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]

    def fits(self, method: str, prompt_version: str) -> bool:
        """Whether it was fitted for this method and prompt."""
        return (self.method, self.prompt_version) == (method, prompt_version)

    def apply(self, raw: float) -> float:
        """Return the share of right verdicts among those with this raw confidence, from 0 to 1."""
        if self.kind is Kind.ISOTONIC:
            return _between(self.knots, raw)
        return _sigmoid(self.slope * _log_odds(raw) + self.intercept)


def fit(
    pairs: Iterable[Pair],
    *,
    kind: Kind,
    method: str,
    prompt_version: str,
    fitted_on: str = "",
    least: int = LEAST_LABELS,
) -> Calibration:
    """Fit a map; raises SettingsError on fewer labels than `least`."""
    held = sorted(Pair(*pair) for pair in pairs)
    if len(held) < max(least, 1):
        raise SettingsError(
            f"a calibration of {method!r} needs {max(least, 1)} labels and was given {len(held)}; label more runs"
        )
    slope, intercept, knots = _parameters(kind, held)
    return Calibration(
        kind=kind,
        method=method,
        prompt_version=prompt_version,
        labels=len(held),
        fitted_on=fitted_on,
        slope=slope,
        intercept=intercept,
        knots=knots,
    )


def save(calibration: Calibration, folder: Path) -> Path:
    """Write it beside an adapter."""
    path = folder / FILE
    path.write_text(json.dumps(calibration.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    return path


def load(folder: Path) -> Calibration | None:
    """Return the calibration beside an adapter, None where there is none; raises SettingsError on another file."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise SettingsError(f"{str(path)!r} is no calibration; fit it again or take it away") from error


def brier(pairs: Sequence[Pair]) -> float:
    """Return the mean squared distance of confidence from what came true; 0 is best, 0.25 says nothing."""
    return math.fsum((raw - is_right) ** 2 for raw, is_right in pairs) / len(pairs)


def expected_calibration_error(pairs: Sequence[Pair], bins: int = 10) -> float:
    """Return how far confidence is from the share of right ones: the mean over equal bins, by how many are in each."""
    sums = [0.0] * bins
    for raw, is_right in pairs:
        sums[min(int(raw * bins), bins - 1)] += raw - is_right
    return math.fsum(abs(one) for one in sums) / len(pairs)


def _parameters(kind: Kind, pairs: Sequence[Pair]) -> tuple[float, float, Knots]:
    match kind:
        case Kind.TEMPERATURE:
            return _temperature(pairs), 0.0, ()
        case Kind.PLATT:
            return *_platt(pairs), ()
        case Kind.ISOTONIC:
            return 1.0, 0.0, _isotonic(pairs)
        case _:
            assert_never(kind)


def _log_odds(raw: float) -> float:
    held = min(max(raw, _EDGE), 1.0 - _EDGE)
    return math.log(held / (1.0 - held))


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-min(value, 700.0)))
    power = math.exp(max(value, -700.0))
    return power / (1.0 + power)


def _targets(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Return what a wrong and a right one pull to: short of 0 and 1, as if one more of each had been seen (Platt)."""
    right = sum(pair.is_right for pair in pairs)
    return 1.0 / (len(pairs) - right + 2.0), (right + 1.0) / (right + 2.0)


def _platt(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Return slope and intercept of the logistic regression on the log-odds; the slope is never negative."""
    slope, intercept = 1.0, 0.0
    points = _points(pairs)
    for _ in range(_ROUNDS):
        slope_pull, intercept_pull = _RIDGE * (slope - 1.0), _RIDGE * intercept
        slope_bend, both_bend, intercept_bend = _RIDGE, 0.0, _RIDGE
        for odds, target in points:
            share = _sigmoid(slope * odds + intercept)
            bend = share * (1.0 - share)
            slope_pull += (share - target) * odds
            intercept_pull += share - target
            slope_bend += bend * odds * odds
            both_bend += bend * odds
            intercept_bend += bend
        size = slope_bend * intercept_bend - both_bend * both_bend
        slope_step = (intercept_bend * slope_pull - both_bend * intercept_pull) / size
        intercept_step = (slope_bend * intercept_pull - both_bend * slope_pull) / size
        slope, intercept = slope - _held(slope_step), intercept - _held(intercept_step)
        if abs(slope_step) + abs(intercept_step) < 1e-9:
            break
    return (slope, intercept) if slope >= 0 else (0.0, _log_odds(math.fsum(t for _, t in points) / len(points)))


def _temperature(pairs: Sequence[Pair]) -> float:
    """Return the factor on the log-odds that makes the labels likeliest."""
    points = _points(pairs)

    def pull(slope: float) -> float:
        return _RIDGE * (slope - 1.0) + math.fsum((_sigmoid(slope * odds) - target) * odds for odds, target in points)

    return _root(pull, 0.0, 100.0)


def _points(pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    wrong, right = _targets(pairs)
    return [(_log_odds(pair.raw), right if pair.is_right else wrong) for pair in pairs]


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return where a rising function crosses 0, or the nearer end."""
    for _ in range(_ROUNDS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2.0


def _held(step: float) -> float:
    return max(-5.0, min(5.0, step))


def _isotonic(pairs: Sequence[Pair]) -> Knots:
    """Return both ends of every level stretch; shares stay one imagined verdict away from 0 and 1."""
    blocks: list[_Block] = []
    for raw, same in groupby(pairs, key=itemgetter(0)):
        is_right = [pair.is_right for pair in same]
        blocks.append(_Block(raw, raw, sum(is_right), len(is_right)))
        while len(blocks) > 1 and blocks[-2].share >= blocks[-1].share:
            last = blocks.pop()
            blocks[-1] = blocks[-1].joined(last)
    floor = 1.0 / (len(pairs) + 2.0)
    knots: list[tuple[float, float]] = []
    for block in blocks:
        share = min(max(block.share, floor), 1.0 - floor)
        knots.append((block.low, share))
        if block.high > block.low:
            knots.append((block.high, share))
    return tuple(knots)


class _Block(NamedTuple):
    low: float
    high: float
    right: int
    size: int

    @property
    def share(self) -> float:
        return self.right / self.size

    def joined(self, other: "_Block") -> "_Block":
        return _Block(self.low, other.high, self.right + other.right, self.size + other.size)


def _between(knots: Knots, raw: float) -> float:
    before = knots[0]
    for knot in knots:
        if raw <= knot[0]:
            width = knot[0] - before[0]
            part = (raw - before[0]) / width if width > 0 else 1.0
            return before[1] + max(part, 0.0) * (knot[1] - before[1]) if raw >= before[0] else before[1]
        before = knot
    return before[1]
