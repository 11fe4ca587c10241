"""The run is shown step by step, and after each the model says whether this one is decisive; its first yes stands.

Rules: steps are asked about in order, each with those before it (the first and as many of the latest as fit) and none
after it; the first yes ends the search; where no step gets a yes, nobody is named.
"""

import asyncio

from tracer.prompt.words import asked, is_decisive_so_far, version_of

from .either import either_request, log_odds, probability
from .protocol import Ask, Case, Guess, Scored
from .room import chunks_of, history, least_of, opened, page_of, steps_room


class StepByStep:
    """Stops at the first step that the model calls decisive."""

    name = "step_by_step"
    prompt_version = version_of(is_decisive_so_far(0, "A1"))

    async def find(self, case: Case, ask: Ask) -> Guess:
        """Ask about one step after the other."""
        count = len(case.trajectory.steps)
        longest = is_decisive_so_far(count, f"A{count}")
        tokens = steps_room(case, ask.serving, max_tokens=1, question=longest)
        is_whole = len(await asyncio.to_thread(chunks_of, case, ask.serving, tokens)) == 1
        most = count if is_whole else tokens // least_of(case, tokens)
        for step_index in range(count):
            odds = await self._asked(case, ask, history(step_index, most), tokens)
            if odds is not None and odds > 0:
                found = Scored(case.roster.agent_at(step_index), step_index, odds)
                return Guess((found,), raw=probability(odds), seeds=case.seeds[:1])
        return Guess((), seeds=case.seeds[:1])

    async def _asked(self, case: Case, ask: Ask, shown: tuple[int, ...], tokens: int) -> float | None:
        page = await asyncio.to_thread(page_of, case, ask.serving, shown, tokens)
        begin = opened(case, page, ask.serving.context_tokens)
        question = is_decisive_so_far(shown[-1], case.roster.id_of(shown[-1]))
        odds = log_odds(await ask(either_request(case, asked(begin, question))))
        ask.unread += odds is None
        return odds
