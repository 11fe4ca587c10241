"""What holds for every method: with a model that knows, with one that talks rubbish, and when the budget ends."""

import asyncio
import zlib

import pytest

from schemas import Tokens
from schemas.errors import ContextError, SettingsError
from tests.tracer.methods.oracle import CheapServing, Oracle, ask_of, case_of, run_of, spoken
from tracer.engines.protocol import Completion, Finish, Request
from tracer.methods.protocol import Ask, Budget, Guess, Method, SpentError
from tracer.methods.table import METHODS, by_name

NAMES = sorted(METHODS)
LENGTHS = range(1, 501)
RUBBISH = {
    "nothing": "",
    "a word": "perhaps",
    "half an answer": "<think>It was <answer>A1 | ",
    "a story": "Once upon a time. " * 50,
    "marks": "<|im_end|><answer></answer>\x00\ufffd",
    "no number": "<answer>A1 | last</answer>",
    "a name": "<answer>agent-1 | 1</answer>",
}


def decisive_of(length: int) -> int:
    """Return another place in every run: its ends, its quarters, and between."""
    return (0, length - 1, length // 2, length // 4, (length * 37) % length, (length * 3) // 4)[length % 6]


async def found(method: Method, length: int, decisive: int, context_tokens: int = 100_000) -> Guess:
    of = run_of(length)
    serving = CheapServing(Oracle(of, decisive), context_tokens)
    return await method.find(case_of(of), ask_of(serving))


@pytest.mark.parametrize("name", NAMES)
async def test_with_a_model_that_knows_every_length_from_1_to_500_is_found(name: str) -> None:
    for length in LENGTHS:
        decisive = decisive_of(length)
        if name == "step_by_step" and length % 50:  # it shows the run anew at each step: most stop early
            decisive %= 20
        guess = await found(METHODS[name], length, decisive)
        assert guess.ranked[0][:2] == (f"agent-{decisive % 3}", decisive), length
        assert guess.raw is not None
        assert guess.raw > 0.9


@pytest.mark.parametrize("length", [2, 7, 40, 131, 500])
@pytest.mark.parametrize("name", NAMES)
async def test_a_run_that_does_not_fit_the_context_is_searched_to_its_end(name: str, length: int) -> None:
    for decisive in {0, length // 3, length - 1}:
        guess = await found(METHODS[name], length, decisive, context_tokens=1_600)
        assert guess.ranked[0][:2] == (f"agent-{decisive % 3}", decisive)


@pytest.mark.parametrize("is_constrained", [True, False])
@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
@pytest.mark.parametrize("name", NAMES)
async def test_rubbish_is_counted_and_names_nobody(name: str, rubbish: str, *, is_constrained: bool) -> None:
    ask = ask_of(CheapServing(lambda _: rubbish))
    guess = await METHODS[name].find(case_of(run_of(5), is_constrained=is_constrained), ask)
    assert guess.ranked == ()
    assert guess.outside is None
    assert ask.unread == ask.requests > 0


@pytest.mark.parametrize("name", NAMES)
async def test_a_model_that_never_stops_is_cut_and_names_nobody(name: str) -> None:
    def endless(request: Request) -> Completion:
        return Completion("and " * request.max_tokens, Finish.LENGTH, Tokens(output=request.max_tokens))

    guess = await METHODS[name].find(case_of(run_of(5)), ask := ask_of(CheapServing(endless)))
    assert guess.ranked == ()
    assert ask.unread == ask.requests


@pytest.mark.parametrize("name", NAMES)
async def test_a_budget_that_is_spent_from_the_start_asks_nothing(name: str) -> None:
    serving = CheapServing(lambda _: pytest.fail("it was asked"))
    with pytest.raises(SpentError):
        await METHODS[name].find(case_of(run_of(4)), ask_of(serving, tokens=0))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "step_by_step"])
async def test_what_was_found_before_the_budget_was_spent_is_kept(name: str) -> None:
    of = run_of(500)
    whole = ask_of(CheapServing(Oracle(of, 100), context_tokens=1_600))
    await METHODS[name].find(case_of(of), whole)
    spent = whole.tokens.input + whole.tokens.output
    half = ask_of(CheapServing(Oracle(of, 100), context_tokens=1_600), tokens=spent // 2)
    with pytest.raises(SpentError):
        await METHODS[name].find(case_of(of), half)
    assert half.best is not None
    assert half.best.ranked
    assert half.requests < whole.requests


@pytest.mark.parametrize("name", NAMES)
async def test_time_that_runs_out_in_the_middle_of_a_request_ends_it(name: str) -> None:
    class Hanging(CheapServing):
        cancelled = 0

        async def generate(self, request: Request) -> Completion:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return await super().generate(request)

    serving = Hanging(lambda _: "yes")
    ask = Ask(serving, Budget(10**9, 0.3), clock=asyncio.get_running_loop().time)
    with pytest.raises(SpentError, match="the time of this trajectory is spent"):
        await METHODS[name].find(case_of(run_of(4), seeds=(1, 2)), ask)
    assert serving.cancelled == ask.requests > 0


@pytest.mark.parametrize("name", NAMES)
async def test_the_same_is_said_of_the_same(name: str) -> None:
    case = case_of(run_of(30), seeds=(1, 2, 3))
    one, other = [await METHODS[name].find(case, ask_of(CheapServing(_drawn, 1_600))) for _ in range(2)]
    assert one == other


def _drawn(request: Request) -> Completion:
    """Return an answer that looks drawn and is the same for the same request."""
    at = zlib.crc32(f"{request.seed} {request.messages[-1].content}".encode()) % 30
    top = {"yes": -0.1 * at - 0.1, "no": -1.0, "first": -0.1 * at - 0.1, "second": -1.5}
    return spoken(f"<answer>A{at % 3 + 1} | {at}</answer>", tops=(top,))


@pytest.mark.parametrize("name", NAMES)
async def test_a_context_without_room_for_a_step_is_refused(name: str) -> None:
    with pytest.raises(ContextError):
        await METHODS[name].find(case_of(run_of(4)), ask_of(CheapServing(lambda _: "yes", context_tokens=300)))


@pytest.mark.parametrize("name", NAMES)
async def test_no_request_is_longer_than_the_context_however_long_the_steps(name: str) -> None:
    steps = [one.model_copy(update={"content": "word " * 2_000}) for one in run_of(12).steps]
    of = run_of(12, steps=steps)
    serving = CheapServing(Oracle(of, 7), context_tokens=1_600)
    guess = await METHODS[name].find(case_of(of), ask_of(serving))
    assert guess.ranked[0][:2] == ("agent-1", 7)


def test_methods_have_their_own_names_and_prompt_versions() -> None:
    assert all(name == method.name for name, method in METHODS.items())
    assert len({method.prompt_version for method in METHODS.values()}) == len(METHODS)


def test_an_unknown_method_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SettingsError, match=r"no method 'spectrum'; choose one of agentracer, all_at_once"):
        by_name("spectrum")
    assert by_name("step_scores").name == "step_scores"
