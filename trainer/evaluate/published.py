r"""Where the scorer that was published with Who&When would count otherwise.

It takes as agent the letters, digits and underscores right behind `Agent Name:`, as step the digits behind
`Step Number:`, and counts a hit where the gold is a *part* of that: a gold step 1 is in an answer 10, and of
`Blu-Ray_Expert` it reads `Blu`. What it can't read it leaves out.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel

from .hits import Row
from .labelled import LabelledTrajectory
from .predictions import Said

_AGENT = re.compile(r"Agent Name:\s*(\w+)", re.IGNORECASE)
_STEP = re.compile(r"Step Number:\s*(\d+)", re.IGNORECASE)


class Otherwise(BaseModel):
    """One trajectory that the two scorers count differently."""

    trajectory_id: str
    what: Literal["agent", "step"]
    answer: str
    gold: str
    is_exact: bool
    is_substring: bool


class Substring(BaseModel):
    """The published scorer's counts beside those of exact match."""

    answers: int
    """How many it can read."""
    agent_hits: int
    step_hits: int
    exact_agent_hits: int
    exact_step_hits: int
    differences: tuple[Otherwise, ...]


class _Read(NamedTuple):
    agent: str
    step: str


def compare(items: Sequence[LabelledTrajectory], said: Sequence[Said], row: Row) -> Substring:
    """Score the same answers both ways."""
    read = [_published(one) for one in said]
    hits = [_hits(item, one) for item, one in zip(items, read, strict=True)]
    return Substring(
        answers=sum(one is not None for one in read),
        agent_hits=sum(agent for agent, _ in hits),
        step_hits=sum(step for _, step in hits),
        exact_agent_hits=int(row.hits["agent"].sum()),
        exact_step_hits=int(row.hits["step"].sum()),
        differences=tuple(_differences(items, read, hits, row)),
    )


def _published(said: Said) -> _Read | None:
    if said.text is not None:
        agent, step = _AGENT.search(said.text), _STEP.search(said.text)
        return _Read(agent[1], step[1]) if agent and step else None
    finding = said.finding
    if finding is None or finding.agent is None or finding.step_index is None:
        return None
    return _Read(finding.agent, str(finding.step_index))


def _hits(item: LabelledTrajectory, read: _Read | None) -> tuple[bool, bool]:
    if read is None:
        return False, False
    return item.label.agent in read.agent, str(item.label.step_index) in read.step


def _differences(
    items: Sequence[LabelledTrajectory], read: Sequence[_Read | None], hits: Sequence[tuple[bool, bool]], row: Row
) -> Iterator[Otherwise]:
    for place, item in enumerate(items):
        of, (agent, step) = read[place] or _Read("", ""), hits[place]
        both: tuple[tuple[Literal["agent", "step"], str, str, bool], ...] = (
            ("agent", of.agent, item.label.agent, agent),
            ("step", of.step, str(item.label.step_index), step),
        )
        for what, answer, gold, is_substring in both:
            is_exact = bool(row.hits[what][place])
            if is_exact != is_substring:
                yield Otherwise(
                    trajectory_id=item.trajectory.trajectory_id,
                    what=what,
                    answer=answer,
                    gold=gold,
                    is_exact=is_exact,
                    is_substring=is_substring,
                )
