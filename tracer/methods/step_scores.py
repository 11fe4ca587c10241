"""One question a step, answered by one token: how strongly the model says that this step is the decisive one.

    whole     all steps come first, computed once, then the step again and the question
    window    where the whole does not fit: the first step and those just before, shortened, then the step

Rules: the score is the log-odds of yes against no among the candidates of the generated token; the highest score is
decisive, the earliest of equals; the raw confidence is its share by softmax over the steps; what is asked about a
step follows from the case and the model alone, so training asks the same.
"""

import asyncio
import math
from collections.abc import Mapping

from tracer.engines.protocol import Message, Request, Serving
from tracer.prompt.excerpt import Excerpt
from tracer.prompt.render import heading, parts_of, shortened, written
from tracer.prompt.words import asked, is_decisive, version_of

from .either import CANDIDATES, log_odds
from .protocol import Ask, Case, Guess, Scored, SpentError
from .room import chunks_of, history, opened, page_of, steps_room
from .rounds import together

AGAIN_TOKENS = 96
"""Behind the whole run a step is repeated with up to so many."""
BEFORE_TOKENS = 48
"""In a window an earlier step has about so many."""
AT_ONCE = 32
_LAYOUT = "2"
"""Another way of putting a step's question together is another version."""
_CHARACTERS_A_TOKEN = 4


class StepScores:
    """Scores every step."""

    name = "step_scores"
    prompt_version = version_of(_LAYOUT, is_decisive(0, "A1"))

    def __init__(self, *, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once

    async def find(self, case: Case, ask: Ask) -> Guess:
        """Ask about all steps, so many at once; the first goes ahead, since the others share what it computes."""
        shared = await asyncio.to_thread(_whole, case, ask.serving)
        gate = asyncio.Semaphore(self._at_once)
        scores: dict[int, float] = {}

        async def score(step_index: int) -> None:
            async with gate:
                request = await asyncio.to_thread(_request, case, ask.serving, step_index, shared)
                odds = log_odds(await ask(request))
            if odds is None:
                ask.unread += 1
            else:
                scores[step_index] = odds

        try:
            await score(0)
            await together(score(step_index) for step_index in range(1, len(case.trajectory.steps)))
        except SpentError:
            ask.so_far(guess_of(case, scores))
            raise
        return guess_of(case, scores)


def step_question(case: Case, serving: Serving, step_index: int) -> Request:
    """Return what is asked about one step; training asks exactly this."""
    return _request(case, serving, step_index, _whole(case, serving))


def guess_of(case: Case, scores: Mapping[int, float]) -> Guess:
    """Rank the steps that have a score."""
    pairs = (Scored(case.roster.agent_at(step_index), step_index, odds) for step_index, odds in scores.items())
    ranked = tuple(sorted(pairs, key=lambda pair: (-pair.score, pair.step_index)))
    if not ranked:
        return Guess((), seeds=case.seeds[:1])
    share = 1.0 / math.fsum(math.exp(pair.score - ranked[0].score) for pair in ranked)
    return Guess(ranked, raw=min(share, 1.0), seeds=case.seeds[:1])


def _request(case: Case, serving: Serving, step_index: int, shared: tuple[Message, ...] | None) -> Request:
    if shared is None:
        messages = _window(case, serving, step_index)
    else:
        messages = asked(shared, _question(case, step_index, _again(case, serving, step_index, AGAIN_TOKENS)))
    return Request(messages, max_tokens=1, seed=case.seeds[0], logprobs=CANDIDATES)


def _whole(case: Case, serving: Serving) -> tuple[Message, ...] | None:
    """Return the run as all questions share it; None where it does not fit."""
    count = len(case.trajectory.steps)
    room = steps_room(case, serving, max_tokens=1 + AGAIN_TOKENS, question=is_decisive(count, f"A{count}"))
    if len(chunks_of(case, serving, room)) > 1:
        return None
    page = page_of(case, serving, tuple(range(count)), room)
    return opened(case, page, serving.context_tokens)


def _window(case: Case, serving: Serving, step_index: int) -> tuple[Message, ...]:
    """Return a context that is bounded however long the run: half of the room is the step's own."""
    bare = is_decisive(step_index, case.roster.id_of(step_index))
    room = steps_room(case, serving, max_tokens=1, question=bare, most=case.window_tokens)
    question = _question(case, step_index, _again(case, serving, step_index, room // 2))
    left = room - serving.count(question) + serving.count(bare)
    before = history(step_index, max(2, left // BEFORE_TOKENS))[:-1]
    page = page_of(case, serving, before, left)
    shown = tuple(sorted({*page.shown, step_index}))
    return asked(opened(case, Excerpt(page.text, shown), min(case.window_tokens, serving.context_tokens)), question)


def _question(case: Case, step_index: int, again: str) -> str:
    return f"{again}\n{is_decisive(step_index, case.roster.id_of(step_index))}"


def _again(case: Case, serving: Serving, step_index: int, tokens: int) -> str:
    """Return one step within so many tokens, or the line it begins with."""
    step = case.trajectory.steps[step_index]
    head = heading(step, step_index, case.roster.id_of(step_index), serving.reserved)
    characters = tokens * _CHARACTERS_A_TOKEN
    while characters:
        text = written(head, shortened(parts_of(step), characters), serving.reserved)
        if serving.count(text) <= tokens:
            return text
        characters //= 2
    return head
