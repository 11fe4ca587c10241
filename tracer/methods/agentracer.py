"""The method of the paper: one question about the whole run, thought over, answered `agent | step`.

Rules: every seed votes, over messages that are computed once; one seed alone is greedy.
"""

from tracer.prompt.words import AGENTRACER, among, version_of

from .protocol import Ask, Case, Guess
from .rounds import Form, vote

TEMPERATURE = 0.7
MAX_TOKENS = 640
"""A thought as long as the grammar lets it be, and the answer."""


class Agentracer:
    """Thinks, then names the pair."""

    name = "agentracer"
    prompt_version = version_of(AGENTRACER, among([("A1", 0)], thinks=True))

    def __init__(self, *, temperature: float = TEMPERATURE, max_tokens: int = MAX_TOKENS) -> None:
        self._form = Form(AGENTRACER, thinks=True, max_tokens=max_tokens, temperature=temperature)

    async def find(self, case: Case, ask: Ask) -> Guess:
        """Ask for thought and answer."""
        return await vote(case, ask, self._form)
