"""How much of a trajectory a question has room for, and which steps go in.

Rules: pure; the task, the agents and the question come first, and the steps get what is left of the context; where
that is next to nothing a ContextError says so.
"""

from schemas.errors import ContextError
from tracer.engines.protocol import Message, Serving
from tracer.prompt.excerpt import Excerpt, excerpt, windows
from tracer.prompt.words import OPENING_CHARACTERS, asked, opening

from .protocol import Case

SLACK = 64
"""Tokens that a chat template may add."""
LEAST = 64
"""With less room than this no step can be shown."""


def opened(case: Case, page: Excerpt, context_tokens: int) -> tuple[Message, ...]:
    """Return the messages that all questions about one excerpt share; a short context has a short beginning."""
    return opening(case, page, characters=min(OPENING_CHARACTERS, context_tokens))


def steps_room(case: Case, serving: Serving, *, max_tokens: int, question: str, most: int | None = None) -> int:
    """Return how many tokens the steps may have beside the question and so many generated ones.

    `most` is a context smaller than the model's.
    """
    context = min(serving.context_tokens, serving.context_tokens if most is None else most)
    everybody = Excerpt("", tuple(range(len(case.trajectory.steps))))
    bare = asked(opened(case, everybody, context), question)
    taken = sum(serving.count(message.content) for message in bare) + max_tokens + SLACK
    room = context - taken
    if room < LEAST:
        raise ContextError(
            f"of a context of {context} tokens {taken} are taken before any step is shown; give {serving.version!r} a "
            "longer one"
        )
    return room if case.whole_tokens is None else max(LEAST, min(room, case.whole_tokens))


def least_of(case: Case, tokens: int) -> int:
    """Return how many tokens a step keeps at the least, within so many for all."""
    return max(1, min(case.step_tokens, tokens // 4))


def chunks_of(case: Case, serving: Serving, tokens: int) -> list[tuple[int, ...]]:
    """Return the windows in which the trajectory is read; one where the whole fits."""
    return windows(case.trajectory, case.roster, tokens=tokens, least=least_of(case, tokens), serving=serving)


def page_of(case: Case, serving: Serving, steps: tuple[int, ...], tokens: int) -> Excerpt:
    """Return these steps within so many tokens."""
    return excerpt(case.trajectory, case.roster, steps, tokens=tokens, serving=serving)


def history(step_index: int, most: int) -> tuple[int, ...]:
    """Return the first step and those just before a step, and the step: at most so many, and at least two."""
    first = max(0, step_index - max(most, 2) + 2)
    return tuple(dict.fromkeys((0, *range(first, step_index + 1))))


def around(steps: tuple[int, ...], count: int, most: int) -> tuple[int, ...]:
    """Return these steps with the ends of the trajectory and their neighbours, as far as there is room for more."""
    shown = set(steps)
    for step in (0, count - 1, *(step + by for by in (-1, 1) for step in steps)):
        if len(shown) < most and 0 <= step < count:
            shown.add(step)
    return tuple(sorted(shown))
