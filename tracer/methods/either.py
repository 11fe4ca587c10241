"""How strongly a model says one word and not another: the log-odds of its first token.

Rules: pure; every way of writing a word counts; what is not among the candidates is no likelier than the least likely
of them, nor than what they leave; where neither is a candidate, or there are none, the text itself is taken; a
completion that says neither is None.
"""

import math
from collections.abc import Mapping

from tracer.engines.protocol import Choice, Completion, Message, Request
from tracer.prompt.words import NO, YES

from .protocol import Case

CANDIDATES = 20
TEXT_ODDS = math.log(9.0)
"""What a bare word is worth where there are no candidates: nine to one."""
LEAST_SHARE = 1e-9
"""What a word has at the least that is no candidate."""


def either_request(case: Case, messages: tuple[Message, ...], words: tuple[str, str] = (YES, NO)) -> Request:
    """Return the request for one of two words."""
    shape = Choice(words) if case.is_constrained else None
    return Request(messages, max_tokens=1, shape=shape, seed=case.seeds[0], logprobs=CANDIDATES)


def log_odds(completion: Completion, words: tuple[str, str] = (YES, NO)) -> float | None:
    """Return the natural log of how many times likelier the first word is than the second; None if it says neither."""
    odds = _of_candidates(completion.tops[0], *words) if completion.tops else None
    return _of_text(completion.text, *words) if odds is None else odds


def probability(odds: float) -> float:
    """Return the share that log-odds stand for."""
    return 1.0 / (1.0 + math.exp(-odds)) if odds > -700.0 else 0.0


def _of_candidates(top: Mapping[str, float], one: str, other: str) -> float | None:
    finite = {text: value for text, value in top.items() if math.isfinite(value)}
    for_one, for_other = _sum(finite, one), _sum(finite, other)
    if for_one is None and for_other is None:
        return None
    left = 1.0 - math.fsum(math.exp(value) for value in finite.values())
    floor = min(*finite.values(), math.log(max(left, LEAST_SHARE)))
    return (floor if for_one is None else for_one) - (floor if for_other is None else for_other)


def _sum(top: Mapping[str, float], word: str) -> float | None:
    """Return the log of what all ways of writing a word have together."""
    written = (word, word.capitalize(), word.upper())
    total = math.fsum(math.exp(top[form]) for way in written for form in (way, f" {way}") if form in top)
    return math.log(total) if total > 0.0 else None


def _of_text(text: str, one: str, other: str) -> float | None:
    said = text.strip().lower()
    if said.startswith(one):
        return TEXT_ODDS
    return -TEXT_ODDS if said.startswith(other) else None
