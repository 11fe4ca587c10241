"""Counterfactual scaffolding: what went wrong, what should have been done, and would the run then have succeeded.

Rules: a few seeds name the candidates, all at once; each candidate is asked about by three short questions over the
same messages, side by side; the one whose correction most likely turns the run is named, the earlier of equals; the
cost is bounded by the number of candidates.
"""

import dataclasses
from typing import NamedTuple

from tracer.engines.protocol import Grammar, Message, Request
from tracer.prompt.render import one_line
from tracer.prompt.words import ABDUCT_ACT_PREDICT, abduce, act, among, asked, predict, version_of

from .either import either_request, log_odds, probability
from .protocol import Ask, Case, Guess, Scored
from .rounds import Form, together, vote
from .votes import DISAGREES, acts, id_named, quotes_in

CANDIDATES = 3
TEMPERATURE = 0.7
MAX_TOKENS = 480
"""A thought in three parts, and the answer."""
SENTENCE_TOKENS = 80
SENTENCE_CHARACTERS = 300
SENTENCE = Grammar(f"root ::= [^<\\n] [^<\\n]{{0,{SENTENCE_CHARACTERS - 1}}}\n")


class _Tried(NamedTuple):
    candidate: Scored
    odds: float
    cause: str
    action: str


class AbductActPredict:
    """Tries a correction of every candidate in the model's head."""

    name = "abduct_act_predict"
    prompt_version = version_of(
        ABDUCT_ACT_PREDICT,
        among([("A1", 0)], thinks=True),
        abduce(0, "A1"),
        act(0, "A1", "x"),
        predict(0, "A1", "x"),
    )

    def __init__(self, *, candidates: int = CANDIDATES) -> None:
        self._candidates = candidates
        self._form = Form(ABDUCT_ACT_PREDICT, thinks=True, max_tokens=MAX_TOKENS, temperature=TEMPERATURE)

    async def find(self, case: Case, ask: Ask) -> Guess:
        """Name candidates, then try them."""
        seeds = _seeds(case, self._candidates)
        named = await vote(dataclasses.replace(case, seeds=seeds), ask, self._form)
        if not named.ranked:
            return named
        tried: dict[int, _Tried] = {}

        async def one(at: int, candidate: Scored) -> None:
            found = await _tried(case, ask, named.opening, candidate)
            if found is not None:
                tried[at] = found
                ask.so_far(_guess(case, named, [tried[at] for at in sorted(tried)]))

        await together(one(at, candidate) for at, candidate in enumerate(named.ranked[: self._candidates]))
        return _guess(case, named, [tried[at] for at in sorted(tried)]) if tried else named


async def _tried(case: Case, ask: Ask, opening: tuple[Message, ...], candidate: Scored) -> _Tried | None:
    """Abduce, act, predict; None where the prediction can't be read."""
    at, short_id = candidate.step_index, id_named(case, candidate.agent)
    cause = await _sentence(case, ask, asked(opening, abduce(at, short_id)))
    action = await _sentence(case, ask, asked(opening, act(at, short_id, cause)))
    odds = log_odds(await ask(either_request(case, asked(opening, predict(at, short_id, action)))))
    ask.unread += odds is None
    return None if odds is None else _Tried(candidate, odds, cause, action)


async def _sentence(case: Case, ask: Ask, messages: tuple[Message, ...]) -> str:
    shape = SENTENCE if case.is_constrained else None
    done = await ask(Request(messages, max_tokens=SENTENCE_TOKENS, shape=shape, seed=case.seeds[0]))
    sentence = one_line(done.text, case.reserved).strip()[:SENTENCE_CHARACTERS]
    ask.unread += not sentence
    return sentence


def _seeds(case: Case, candidates: int) -> tuple[int, ...]:
    """Return the case's own seeds; one alone names one candidate only, so others come after it."""
    first = case.seeds[0]
    return case.seeds if len(case.seeds) > 1 else tuple(range(first, first + candidates))


def _guess(case: Case, named: Guess, tried: list[_Tried]) -> Guess:
    """Rank what was tried by its odds; what was not comes behind it."""
    ranked = sorted(tried, key=lambda one: (-one.odds, one.candidate.step_index))
    best = ranked[0]
    pairs = [one.candidate._replace(score=probability(one.odds)) for one in ranked]
    known = {pair[:2] for pair in pairs}
    others = [other._replace(score=0.0) for other in named.ranked if other[:2] not in known]
    agent, step_index, sure = pairs[0]
    is_there = acts(case, id_named(case, agent), step_index)
    return named._replace(
        ranked=(*pairs, *others),
        raw=sure * (1.0 if is_there else DISAGREES),
        reason=" ".join(part for part in (best.cause, best.action) if part) or named.reason,
        quotes=quotes_in(best.cause),
        outside=None,
    )
