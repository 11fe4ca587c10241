"""The rows without a model: a table that lacks them says little.

Rules: everything is computed from the data that is evaluated on. The constants are picked within a part of the data
set: once on the very trajectories they are scored on (so too good: optimistic), once, for every trajectory, on those
of the other task groups. A constant step past a trajectory's end is its last step. Ties go to the agent that is
labelled first, and to the earliest step. Lots are drawn evenly among the distinct speakers, and among the steps,
independently; what is scored is the probability of a hit.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas import VerdictStatus
from tracer.protocol import Finding
from tracer.rules import RULES, agent_of, by_name

from .hits import METRICS, TOP, WITHIN, Row, row
from .labelled import LabelledTrajectory
from .run import Entry

PICKED = "constant"
PICKED_ELSEWHERE = "constant_left_out"
BY_LOT = "uniform"
FLOORS = (PICKED, PICKED_ELSEWHERE, BY_LOT)
MODEL_FREE = (*FLOORS, *RULES)
NOT_DRAWN = frozenset({"human"})
"""Speakers that gave the task and are no suspects where lots are drawn."""


def rule_entries(names: Sequence[str]) -> list[Entry]:
    """Return the rules of that name as what `run` asks."""
    return [Entry(name, by_name(name)) for name in names if name in RULES]


def floor(name: str, items: Sequence[LabelledTrajectory]) -> Row:
    """Return one of the rows that are no tracer's."""
    if name == PICKED:
        return row(name, "model-free", items, _constants(items, left_out=False), note="optimistic: picked on this data")
    if name == PICKED_ELSEWHERE:
        return row(name, "model-free", items, _constants(items, left_out=True), note="picked on the other task groups")
    return _by_lot(items)


def _constants(items: Sequence[LabelledTrajectory], *, left_out: bool) -> list[Finding | None]:
    findings: list[Finding | None] = [None] * len(items)
    for places in _parts(items):
        of_part = [items[place] for place in places]
        for place, finding in zip(places, _constant(of_part, left_out=left_out), strict=True):
            findings[place] = finding
    return findings


def _parts(items: Sequence[LabelledTrajectory]) -> Iterator[list[int]]:
    for part in dict.fromkeys(item.part for item in items):
        yield [place for place, item in enumerate(items) if item.part == part]


def _constant(items: Sequence[LabelledTrajectory], *, left_out: bool) -> Iterator[Finding | None]:
    """Yield the constant for each, picked on all of them or on those of other groups."""
    agents, hit_S_N = Counter(item.agent for item in items), _step_hits(items)
    steps_S = hit_S_N.sum(axis=1)
    own = _by_group(items)
    for item in items:
        places = own[item.task_group] if left_out else []
        counts = agents - Counter(items[place].agent for place in places)
        if not counts:
            yield None
            continue
        step = int(np.argmax(steps_S - hit_S_N[:, places].sum(axis=1)))
        agent = max((one for one in agents if counts[one]), key=lambda one: counts[one])
        yield Finding(status=VerdictStatus.ATTRIBUTED, agent=agent, step_index=min(step, item.length - 1))


def _by_group(items: Sequence[LabelledTrajectory]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        found.setdefault(item.task_group, []).append(place)
    return found


def _step_hits(items: Sequence[LabelledTrajectory]) -> NDArray[np.int64]:
    """Return for each step number whether it, clipped to the last step, is the decisive one of each trajectory."""
    last_N = np.array([item.length - 1 for item in items])
    gold_N = np.array([item.label.step_index for item in items])
    hits_S_N: NDArray[np.int64] = (np.minimum(np.arange(last_N.max() + 1)[:, None], last_N) == gold_N).astype(np.int64)
    return hits_S_N


def _by_lot(items: Sequence[LabelledTrajectory]) -> Row:
    empty = row(BY_LOT, "model-free", items, [None] * len(items), note="the expectation of drawing lots")
    chances = [_chances(item) for item in items]
    for metric in METRICS:
        empty.hits[metric][:] = [one[metric] for one in chances]
    return empty


def _chances(item: LabelledTrajectory) -> dict[str, float]:
    speakers = {agent_of(step) for step in item.trajectory.steps} - NOT_DRAWN
    length, gold = item.length, item.label.step_index
    agent = 1 / len(speakers) if item.agent in speakers else 0.0
    found = {"agent": agent, "step": 1 / length, "joint": agent / length}
    for k in WITHIN:
        found[f"step_within_{k}"] = (min(gold + k, length - 1) - max(gold - k, 0) + 1) / length
    for k in TOP:
        found[f"agent_top_{k}"] = min(1.0, agent * k)
        found[f"step_top_{k}"] = min(1.0, k / length)
    return found
