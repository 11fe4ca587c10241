"""What one method promises beside the others."""

import math

import pytest

from schemas import StepEvent
from tests.factories import step
from tests.tracer.methods.oracle import CheapServing, Oracle, Script, ask_of, case_of, run_of, spoken
from tracer.engines.protocol import Choice, Completion, Grammar, Request
from tracer.methods.abduct_act_predict import AbductActPredict
from tracer.methods.agentracer import Agentracer
from tracer.methods.all_at_once import AllAtOnce
from tracer.methods.binary_search import BinarySearch
from tracer.methods.either import TEXT_ODDS, log_odds
from tracer.methods.protocol import Case, Guess
from tracer.methods.room import around, history
from tracer.methods.step_by_step import StepByStep
from tracer.methods.step_scores import StepScores, step_question
from tracer.methods.votes import DISAGREES


def by_seed(*answers: str) -> Script:
    return lambda request: answers[request.seed]


async def voted(*answers: str, **fields: object) -> Guess:
    serving = CheapServing(by_seed(*answers))
    return await Agentracer().find(case_of(run_of(6), seeds=tuple(range(len(answers))), **fields), ask_of(serving))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 31, 32, 33, 64, 100, 500])
async def test_a_binary_search_asks_at_most_log2_of_the_steps(length: int) -> None:
    of = run_of(length)
    for decisive in {0, length // 2, length - 1}:
        ask = ask_of(CheapServing(Oracle(of, decisive)))
        await BinarySearch().find(case_of(of), ask)
        assert ask.requests <= math.ceil(math.log2(length))


async def test_step_by_step_stops_at_its_first_yes() -> None:
    of = run_of(20)
    serving = CheapServing(lambda request: "yes" if Oracle(of, 7)(request) == "yes" else Oracle(of, 9)(request))
    ask = ask_of(serving)
    guess = await StepByStep().find(case_of(of), ask)
    assert guess.ranked[0].step_index == 7
    assert ask.requests == 8


async def test_step_by_step_never_shows_a_step_before_it_is_asked_about() -> None:
    of = run_of(20)
    serving = CheapServing(Oracle(of, 19))
    await StepByStep().find(case_of(of), ask_of(serving))
    for at, request in enumerate(serving.asked):
        text = request.messages[-1].content
        assert f"\n[{at}] " in text
        assert f"\n[{at + 1}] " not in text


async def test_without_a_yes_step_by_step_names_nobody() -> None:
    ask = ask_of(CheapServing(lambda _: "no"))
    assert (await StepByStep().find(case_of(run_of(4)), ask)).ranked == ()
    assert (ask.requests, ask.unread) == (4, 0)


async def test_the_share_of_the_votes_is_the_raw_confidence_and_ranks_the_others() -> None:
    one, other = "<think>t</think><answer>A2 | 1</answer>", "<think>u</think><answer>A3 | 5</answer>"
    guess = await voted(other, one, one, "rubbish")
    assert [(pair.agent, pair.step_index, pair.score) for pair in guess.ranked] == [
        ("agent-1", 1, 0.5),
        ("agent-2", 5, 0.25),
    ]
    assert (guess.raw, guess.reason, guess.seeds) == (0.5, "t", (0, 1, 2, 3))


async def test_ties_go_to_the_first_seed() -> None:
    guess = await voted("<answer>A3 | 5</answer>", "<answer>A2 | 1</answer>")
    assert guess.ranked[0].step_index == 5


async def test_an_agent_that_did_not_act_there_is_kept_and_halves_the_confidence() -> None:
    guess = await voted("<answer>A1 | 1</answer>")
    assert guess.ranked[0][:2] == ("agent-0", 1)
    assert guess.raw == DISAGREES


@pytest.mark.parametrize(("agent", "at"), [("A9", 1), ("A1", 6), ("A9", 999)])
async def test_a_pair_that_is_not_there_stands_apart(agent: str, at: int) -> None:
    guess = await voted(f"<answer>{agent} | {at}</answer>", is_constrained=False)
    assert guess.outside == (agent, at)
    assert guess.ranked == ()


async def test_seeds_share_their_messages_and_only_several_are_warm() -> None:
    of = run_of(6)
    for seeds in ((4,), (4, 5, 6)):
        serving = CheapServing(Oracle(of, 2))
        await AllAtOnce().find(case_of(of, seeds=seeds), ask_of(serving))
        assert [request.seed for request in serving.asked] == list(seeds)
        assert len({request.messages for request in serving.asked}) == 1
        assert {request.temperature > 0 for request in serving.asked} == {len(seeds) > 1}


@pytest.mark.parametrize("method", [Agentracer(), AllAtOnce(), StepByStep(), BinarySearch(), AbductActPredict()])
async def test_without_constraint_no_request_has_a_shape(method: Agentracer) -> None:
    of = run_of(9)
    for is_constrained in (True, False):
        serving = CheapServing(Oracle(of, 4))
        await method.find(case_of(of, is_constrained=is_constrained), ask_of(serving))
        shapes = [request.shape for request in serving.asked]
        assert all(isinstance(shape, Choice | Grammar) if is_constrained else shape is None for shape in shapes)


async def test_the_correction_that_turns_the_run_is_preferred_to_the_first_named() -> None:
    of, oracle = run_of(9), Oracle(run_of(9), 4)

    def said(request: Request) -> str:
        if isinstance(request.shape, Grammar) and "<answer>" in request.shape.ebnf:
            return ("<answer>A1 | 3</answer>", "<answer>A1 | 3</answer>", "<answer>A2 | 4</answer>")[request.seed]
        return oracle(request)

    ask = ask_of(CheapServing(said))
    guess = await AbductActPredict().find(case_of(of), ask)
    assert [pair[:2] for pair in guess.ranked] == [("agent-1", 4), ("agent-0", 3)]
    assert guess.reason == "It did the wrong thing. It did the wrong thing."
    assert ask.requests == 3 + 2 * 3


def scored(scores: dict[int, float]) -> Script:
    """Return a model that gives every step these log-odds."""

    def said(request: Request) -> Completion:
        at = int(request.messages[-1].content.rpartition("Is step ")[2].partition(",")[0])
        return spoken("no", tops=({" yes": scores[at] - 10.0, " no": -10.0},))

    return said


async def test_step_scores_ask_one_token_a_step_and_take_the_highest() -> None:
    ask = ask_of(serving := CheapServing(scored({0: -2.0, 1: 1.0, 2: 1.0, 3: -3.0})))
    guess = await StepScores().find(case_of(run_of(4)), ask)
    assert [pair.step_index for pair in guess.ranked] == [1, 2, 0, 3]
    assert guess.ranked[0].score == pytest.approx(1.0)
    assert guess.raw == pytest.approx(math.e / (2 * math.e + math.exp(-2) + math.exp(-3)))
    assert [(request.max_tokens, request.logprobs) for request in serving.asked] == [(1, 20)] * 4


async def test_training_asks_about_a_step_exactly_what_is_served() -> None:
    for context_tokens in (100_000, 1_400):
        case, serving = case_of(run_of(60)), CheapServing(scored(dict.fromkeys(range(60), 0.0)), context_tokens)
        await StepScores(at_once=1).find(case, ask_of(serving))
        assert [request._replace(priority=0) for request in serving.asked] == [
            step_question(case, serving, at) for at in range(60)
        ]


def test_a_whole_run_is_the_same_before_every_question() -> None:
    case, serving = case_of(run_of(30)), CheapServing(lambda _: "yes")
    texts = [step_question(case, serving, at).messages[-1].content for at in range(30)]
    shared = len(texts[0]) - len(texts[0].rpartition("\n\n")[2])
    assert len({text[:shared] for text in texts}) == 1


def long_run() -> Case:
    steps: list[StepEvent] = [step(index=at, agent=f"agent-{at % 3}", content=f"w{at} " * 3_000) for at in range(40)]
    return case_of(run_of(40, steps=steps), window_tokens=900)


def test_a_step_of_a_long_run_is_asked_about_within_its_window() -> None:
    serving, case = CheapServing(lambda _: "yes", context_tokens=4_000), long_run()
    for at in (0, 1, 20, 39):
        messages = step_question(case, serving, at).messages
        assert sum(serving.count(message.content) for message in messages) <= 900
        text = messages[-1].content
        assert text.count(f"[{at}] ") == 1
        assert f"w{at} w{at}" in text
        assert f"[{at + 1}] " not in text


def test_log_odds_add_up_the_ways_of_writing_a_word() -> None:
    top = {"yes": math.log(0.2), " Yes": math.log(0.2), "no": math.log(0.1), "maybe": math.log(0.01)}
    assert log_odds(spoken("yes", tops=(top,))) == pytest.approx(math.log(4.0))


def test_a_word_that_is_no_candidate_is_as_likely_as_the_least_likely_or_what_is_left() -> None:
    assert log_odds(spoken("yes", tops=({"yes": math.log(0.5), "so": math.log(0.01)},))) == pytest.approx(math.log(50))
    top = {"yes": math.log(0.9), "so": math.log(0.099)}
    assert log_odds(spoken("yes", tops=(top,))) == pytest.approx(math.log(0.9 / 0.001), rel=1e-3)


@pytest.mark.parametrize("top", [{}, {"so": -0.1}, {"so": -math.inf}])
@pytest.mark.parametrize(("text", "odds"), [(" Yes.", TEXT_ODDS), ("NO", -TEXT_ODDS), ("perhaps", None)])
def test_without_candidates_the_word_itself_counts(top: dict[str, float], text: str, odds: float | None) -> None:
    assert log_odds(spoken(text, tops=(top,))) == odds
    assert log_odds(spoken(text)) == odds


def test_a_history_has_the_first_step_the_latest_and_the_one_asked_about() -> None:
    assert history(0, 5) == (0,)
    assert history(3, 10) == (0, 1, 2, 3)
    assert history(9, 4) == (0, 7, 8, 9)
    assert history(9, 1) == (0, 9)


def test_candidates_are_shown_with_the_ends_and_their_neighbours_while_there_is_room() -> None:
    assert around((5,), 10, 1) == (5,)
    assert around((5,), 10, 3) == (0, 5, 9)
    assert around((5,), 10, 9) == (0, 4, 5, 6, 9)
