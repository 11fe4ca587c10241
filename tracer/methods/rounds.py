"""One question that is answered `agent | step`, asked of a whole trajectory by several seeds at once.

A trajectory that does not fit is read in windows; what each of them names goes on to the next round, until the
candidates fit one question, and that one decides.

Rules: every step is in some window; all seeds are asked over the same messages; what is known so far is noted after
every answer; a window that can't be read names nobody, and where the last round can't be, the rounds before it stand;
what takes long to put together is put together beside the event loop.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import NamedTuple, TypeVar

from tracer.engines.protocol import Message, Request
from tracer.prompt.answer import Answer, answer_grammar, read_answer
from tracer.prompt.words import among, asked

from .protocol import Ask, Case, Guess
from .room import around, chunks_of, least_of, opened, page_of, steps_room
from .votes import guess_of

WAVE = 4
"""Windows that are asked at once."""
CANDIDATES = 3
"""A window sends on at most so many steps, and never more than half of its own."""
_Result = TypeVar("_Result")
Note = Callable[[Guess], None]


class Form(NamedTuple):
    """What is asked, and how it may be answered."""

    question: str
    thinks: bool
    max_tokens: int
    temperature: float
    """With more than one seed; one alone is greedy."""


async def vote(case: Case, ask: Ask, form: Form) -> Guess:
    """Ask, in as many rounds as it takes."""
    tokens = steps_room(case, ask.serving, max_tokens=form.max_tokens, question=form.question)
    chunks = await asyncio.to_thread(chunks_of, case, ask.serving, tokens)
    if len(chunks) == 1:
        return await _poll(case, ask, form, _Page(chunks[0], chunks[0]), ask.so_far)
    most = max(2, tokens // least_of(case, tokens))
    pages = [_Page(chunk, chunk) for chunk in chunks]
    while len(pages) > 1:
        named = await _candidates(case, ask, form, pages)
        pages = [_final(case, named[at : at + most], most) for at in range(0, len(named), most)]
    final = await _poll(case, ask, form, pages[0], ask.so_far) if pages else Guess((), seeds=case.seeds)
    return final if final.raw is not None or ask.best is None else ask.best


async def together(works: Iterable[Coroutine[object, object, _Result]]) -> list[_Result]:
    """Run all of them at once; where one fails the others are cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class _Page(NamedTuple):
    shown: tuple[int, ...]
    choices: tuple[int, ...]
    is_final: bool = False
    """Whether the choices were named before."""


def _final(case: Case, choices: tuple[int, ...], most: int) -> _Page:
    return _Page(around(choices, len(case.trajectory.steps), most), choices, is_final=True)


async def _candidates(case: Case, ask: Ask, form: Form, pages: Sequence[_Page]) -> tuple[int, ...]:
    """Return the steps that the pages' answers name, in order."""
    found: dict[int, Guess] = {}

    async def read(at: int) -> None:
        def note(guess: Guess) -> None:
            found[at] = guess
            ask.so_far(_merged([found[at] for at in sorted(found)]))

        await _poll(case, ask, form, pages[at], note)

    for first in range(0, len(pages), WAVE):
        await together(read(at) for at in range(first, min(first + WAVE, len(pages))))
    sent_on = (
        scored.step_index
        for at, guess in found.items()
        for scored in guess.ranked[: max(1, min(CANDIDATES, len(pages[at].choices) // 2))]
    )
    return tuple(sorted(set(sent_on)))


async def _poll(case: Case, ask: Ask, form: Form, page: _Page, note: Note) -> Guess:
    """Ask every seed over the same messages."""
    question = form.question
    if page.is_final:
        question = among([(case.roster.id_of(step), step) for step in page.choices], thinks=form.thinks)
    tokens = steps_room(case, ask.serving, max_tokens=form.max_tokens, question=question)
    text = await asyncio.to_thread(page_of, case, ask.serving, page.shown, tokens)
    choices = tuple(step for step in page.choices if step in set(text.shown)) or page.choices
    begin = opened(case, text, ask.serving.context_tokens)
    request = _request(case, form, choices, asked(begin, question))
    answers: dict[int, Answer] = {}

    async def one(seed: int) -> None:
        answer = read_answer((await ask(request._replace(seed=seed))).text)
        if answer is None:
            ask.unread += 1
            return
        answers[seed] = answer
        note(guess_of(case, answers, begin))

    await together(one(seed) for seed in case.seeds)
    return guess_of(case, answers, begin)


def _request(case: Case, form: Form, choices: tuple[int, ...], messages: tuple[Message, ...]) -> Request:
    acting = {case.roster.id_of(step) for step in choices}
    ids = [short_id for short_id in case.roster.ids if short_id in acting]
    return Request(
        messages,
        form.max_tokens,
        shape=answer_grammar(ids, choices, thinks=form.thinks) if case.is_constrained else None,
        temperature=form.temperature if len(case.seeds) > 1 else 0.0,
    )


def _merged(guesses: Sequence[Guess]) -> Guess:
    """Return the surest of several windows' guesses, the earliest of equals, with the others' pairs behind it."""
    best = max(guesses, key=lambda guess: (guess.outside is None, guess.raw or 0.0))
    others = [scored for guess in guesses if guess is not best for scored in guess.ranked]
    return best._replace(ranked=best.ranked + tuple(sorted(others, key=lambda scored: -scored.score)))
