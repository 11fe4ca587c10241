"""The run is halved until one step is left, and each time the model says in which half the decisive step is.

Rules: a run of n steps takes at most ceil(log2 n) questions; the whole run is shown while it fits, else the steps in
question; a completion that can't be read decides for the first half and halves the raw confidence.
"""

import asyncio

from tracer.prompt.words import FIRST, SECOND, asked, version_of, which_half

from .either import either_request, log_odds, probability
from .protocol import Ask, Case, Guess, Scored
from .room import chunks_of, opened, page_of, steps_room

WORDS = (FIRST, SECOND)


class BinarySearch:
    """Asks in which half."""

    name = "binary_search"
    prompt_version = version_of(which_half(0, 1, 2))

    async def find(self, case: Case, ask: Ask) -> Guess:
        """Halve until one step is left."""
        low, high = 0, len(case.trajectory.steps) - 1
        tokens = steps_room(case, ask.serving, max_tokens=1, question=which_half(high, high, high))
        chunks = await asyncio.to_thread(chunks_of, case, ask.serving, tokens)
        whole = range(high + 1) if len(chunks) == 1 else None
        sure, read = 1.0, 0
        while low < high:
            middle = (low + high) // 2
            odds = await self._asked(case, ask, whole or range(low, high + 1), (low, middle, high), tokens)
            read += odds is not None
            sure *= 0.5 if odds is None else probability(abs(odds))
            low, high = (middle + 1, high) if odds is not None and odds < 0 else (low, middle)
            if read:
                ask.so_far(_guess(case, low, sure))
        return _guess(case, low, sure) if read or len(case.trajectory.steps) == 1 else Guess((), seeds=case.seeds[:1])

    async def _asked(
        self, case: Case, ask: Ask, shown: range, halves: tuple[int, int, int], tokens: int
    ) -> float | None:
        page = await asyncio.to_thread(page_of, case, ask.serving, tuple(shown), tokens)
        begin = opened(case, page, ask.serving.context_tokens)
        odds = log_odds(await ask(either_request(case, asked(begin, which_half(*halves)), WORDS)), WORDS)
        ask.unread += odds is None
        return odds


def _guess(case: Case, step_index: int, sure: float) -> Guess:
    found = Scored(case.roster.agent_at(step_index), step_index, sure)
    return Guess((found,), raw=sure, seeds=case.seeds[:1])
