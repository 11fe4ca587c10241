"""What a method said of each trajectory, held against the label: by exact match, one number a trajectory.

Array suffix: N trajectories, in the data set's order.

Rules: agents are compared by their bare names, letter for letter, steps as numbers; who names nobody has missed; a
pair is right only as a whole; the first k count distinct agents (or steps), the answer itself the first of them; no
confidence (NaN) is not a low confidence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from schemas import VerdictStatus
from tracer.protocol import Finding

from .labelled import LabelledTrajectory, bare_name
from .statistics import Array

T = TypeVar("T")
Kind = Literal["model-free", "model", "given"]
TARGETS = ("agent", "step", "joint")
WITHIN = (1, 2, 5)
TOP = (3, 5)
METRICS = (
    *TARGETS,
    *(f"step_within_{k}" for k in WITHIN),
    *(f"agent_top_{k}" for k in TOP),
    *(f"step_top_{k}" for k in TOP),
)


@dataclass(frozen=True)
class Row:
    """One method on one data set."""

    name: str
    kind: Kind
    hits: dict[str, Array]
    """Of every metric: 1 for a hit, 0 for a miss, the probability of a hit for what is drawn by lot."""
    confidence_N: Array
    findings: tuple[Finding | None, ...]
    """None where the method was not asked, or said nothing that can be read."""
    seconds_N: Array
    version: str = ""
    note: str = ""
    options: dict[str, str] = field(default_factory=dict)


def row(
    name: str,
    kind: Kind,
    items: Sequence[LabelledTrajectory],
    findings: Sequence[Finding | None],
    *,
    seconds: Sequence[float] | None = None,
    version: str = "",
    note: str = "",
    options: dict[str, str] | None = None,
) -> Row:
    """Hold a method's findings against the labels."""
    scored = [_hits(item, finding) for item, finding in zip(items, findings, strict=True)]
    sure = [finding.confidence if finding is not None else None for finding in findings]
    return Row(
        name=name,
        kind=kind,
        hits={metric: np.array([one[metric] for one in scored]) for metric in METRICS},
        confidence_N=np.array([np.nan if one is None else one for one in sure]),
        findings=tuple(findings),
        seconds_N=np.full(len(items), np.nan) if seconds is None else np.array(seconds, dtype=np.float64),
        version=version,
        note=note,
        options=options or {},
    )


def named(finding: Finding | None) -> tuple[str | None, int | None]:
    """Return the bare name of whom a finding blames, and the step."""
    if finding is None or finding.agent is None:
        return None, finding.step_index if finding is not None else None
    return bare_name(finding.agent), finding.step_index


def is_invalid(finding: Finding | None) -> bool:
    """Whether a model's answer could not be read, or named what isn't there."""
    return finding is not None and finding.status in {VerdictStatus.UNPARSABLE, VerdictStatus.OUT_OF_RANGE}


def _hits(item: LabelledTrajectory, finding: Finding | None) -> dict[str, float]:
    agent, step = named(finding)
    gold_agent, gold_step = item.agent, item.label.step_index
    agents, steps = _ranked(finding)
    found = {
        "agent": agent == gold_agent,
        "step": step == gold_step,
        "joint": agent == gold_agent and step == gold_step,
        **{f"step_within_{k}": step is not None and abs(step - gold_step) <= k for k in WITHIN},
        **{f"agent_top_{k}": gold_agent in agents[:k] for k in TOP},
        **{f"step_top_{k}": gold_step in steps[:k] for k in TOP},
    }
    return {metric: float(hit) for metric, hit in found.items()}


def _ranked(finding: Finding | None) -> tuple[list[str], list[int]]:
    agent, step = named(finding)
    others = finding.alternatives if finding is not None else ()
    agents = _distinct([agent, *(bare_name(other.agent) for other in others)])
    return agents, _distinct([step, *(other.step_index for other in others)])


def _distinct(values: Iterable[T | None]) -> list[T]:
    return [value for value in dict.fromkeys(values) if value is not None]
