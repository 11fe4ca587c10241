"""The answers of several seeds become one guess.

Rules: pure; a pair's score is its share of the seeds, unread ones counted; ties go to the first seed; the raw
confidence is the winner's share, halved where the named agent did not act at the named step; what is named and not
there can win too, and stands apart.
"""

import re
from collections import Counter
from collections.abc import Mapping

from tracer.engines.protocol import Message
from tracer.prompt.answer import Answer

from .protocol import Case, Guess, Scored

DISAGREES = 0.5
"""What the raw confidence keeps where the named agent did not act at the named step."""
_QUOTED = re.compile(r'"([^"\n]{4,500})"|“([^”\n]{4,500})”|`([^`\n]{4,500})`')


def guess_of(case: Case, answers: Mapping[int, Answer], opening: tuple[Message, ...] = ()) -> Guess:
    """Count the answers, by seed, over all seeds of the case."""
    said = [answers[seed] for seed in case.seeds if seed in answers]
    counts = Counter((answer.agent_id, answer.step_index) for answer in said)
    if not counts:
        return Guess((), seeds=case.seeds, opening=opening)
    pairs = sorted(counts, key=lambda pair: -counts[pair])
    shares = {pair: counts[pair] / len(case.seeds) for pair in pairs}
    ranked = tuple(scored for pair in pairs if (scored := scored_of(case, *pair, shares[pair])) is not None)
    first = next(answer for answer in said if (answer.agent_id, answer.step_index) == pairs[0])
    is_there = scored_of(case, *pairs[0], 0.0) is not None
    return Guess(
        ranked,
        raw=shares[pairs[0]] * (1.0 if acts(case, *pairs[0]) else DISAGREES),
        reason=first.think.strip() or None,
        quotes=quotes_in(first.think),
        seeds=case.seeds,
        outside=None if is_there else pairs[0],
        opening=opening,
    )


def scored_of(case: Case, short_id: str, step_index: int, score: float) -> Scored | None:
    """Return a pair under the agent's own name; None where agent or step are not there."""
    name = case.roster.name_of(short_id)
    if name is None or not 0 <= step_index < len(case.trajectory.steps):
        return None
    return Scored(name, step_index, score)


def acts(case: Case, short_id: str, step_index: int) -> bool:
    """Whether this agent acted at this step."""
    return 0 <= step_index < len(case.trajectory.steps) and case.roster.id_of(step_index) == short_id


def id_named(case: Case, agent: str) -> str:
    """Return the short id of an agent of the roster."""
    return f"A{case.roster.names.index(agent) + 1}"


def quotes_in(think: str) -> tuple[str, ...]:
    """Return what stands in quotation marks."""
    found = (next(filter(None, quoted)) for quoted in _QUOTED.findall(think))
    return tuple(dict.fromkeys(found))
