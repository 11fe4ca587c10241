"""One question about the whole run, answered `agent | step` without a thought.

Rules: every seed votes, over messages that are computed once; one seed alone is greedy.
"""

from tracer.prompt.words import ALL_AT_ONCE, among, version_of

from .protocol import Ask, Case, Guess
from .rounds import Form, vote

TEMPERATURE = 0.7
MAX_TOKENS = 32


class AllAtOnce:
    """Names the pair at once."""

    name = "all_at_once"
    prompt_version = version_of(ALL_AT_ONCE, among([("A1", 0)], thinks=False))

    def __init__(self, *, temperature: float = TEMPERATURE, max_tokens: int = MAX_TOKENS) -> None:
        self._form = Form(ALL_AT_ONCE, thinks=False, max_tokens=max_tokens, temperature=temperature)

    async def find(self, case: Case, ask: Ask) -> Guess:
        """Ask for the answer alone."""
        return await vote(case, ask, self._form)
