"""Steps within a number of tokens, and windows over a run that does not fit."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import StepEvent, ToolUse, Trajectory
from tests.factories import step, trajectory
from tests.strategies import STEPS
from tests.tracer.prompt.pages import (
    CHATML,
    HOSTILE,
    LANGUAGES,
    RULES,
    Counting,
    Rule,
    blocks,
    headings,
    in_bytes,
    in_quarters,
    in_words,
    long_run,
    run_of,
    with_a_start,
)
from tracer.prompt.excerpt import Excerpt, Tokenizer, excerpt, windows
from tracer.prompt.render import step_lines
from tracer.prompt.roster import roster_of

SANE = (in_bytes, in_quarters, in_words, with_a_start)


def of(run: Trajectory, tokens: int, serving: Tokenizer | None = None, indices: range | None = None) -> Excerpt:
    serving = serving or Counting(in_quarters)
    return excerpt(run, roster_of(run.steps), indices or range(len(run.steps)), tokens=tokens, serving=serving)


def chunks(run: Trajectory, tokens: int, least: int, serving: Tokenizer | None = None) -> list[tuple[int, ...]]:
    return windows(run, roster_of(run.steps), tokens=tokens, least=least, serving=serving or Counting(in_quarters))


def whole(run: Trajectory, index: int) -> str:
    return step_lines(run.steps[index], index, roster_of(run.steps).id_of(index), CHATML)


def test_what_fits_is_shown_whole() -> None:
    run = run_of(["one", "two", "three"])
    assert of(run, 100) == Excerpt("\n".join(whole(run, at) for at in range(3)), (0, 1, 2))


def test_a_run_that_just_fits_is_not_shortened() -> None:
    run = run_of(["a" * 400, "b" * 400])
    needed = in_quarters(of(run, 10_000).text)
    assert "left out" not in of(run, needed).text
    assert "characters left out" in of(run, needed - 1).text


def test_what_is_not_asked_for_is_marked_and_no_index_shifts() -> None:
    run = run_of([f"said {at}" for at in range(12)])
    text = excerpt(run, roster_of(run.steps), (2, 3, 5, 9), tokens=500, serving=Counting(in_quarters)).text
    assert [line for line in text.split("\n") if line.startswith("(")] == [
        "(steps 0 to 1 left out)",
        "(step 4 left out)",
        "(steps 6 to 8 left out)",
        "(steps 10 to 11 left out)",
    ]
    assert [(at, block.split("\n")[1]) for at, block in blocks(text).items() if at >= 0] == [
        (at, f"| said {at}") for at in (2, 3, 5, 9)
    ]


def test_every_character_of_a_shortened_step_is_shown_or_counted() -> None:
    run = run_of(["x" * size for size in (50, 3_000, 700, 12_345)])
    shown = of(run, 400)
    assert shown.shown == (0, 1, 2, 3)
    for at, block in blocks(shown.text).items():
        left_out = sum(int(number.replace(",", "")) for number in re.findall(r"\(([\d,]+) characters", block))
        assert block.count("x") + left_out == len(run.steps[at].content)


def test_the_first_step_the_last_and_errors_keep_several_times_more() -> None:
    steps = [step(index=at, content="x" * 4_000) for at in range(20)]
    steps[9] = step(index=9, content="x" * 4_000, error_type="KeyError")
    kept = {at: block.count("x") for at, block in blocks(of(trajectory(steps), 2_000).text).items()}
    most = max(size for at, size in kept.items() if at not in (0, 9, 19))
    assert min(kept[0], kept[9], kept[19]) > 2.5 * most > 0


def test_where_most_steps_end_in_errors_none_of_them_is_favoured() -> None:
    steps = [step(index=at, content="x" * 4_000, error_type="E" if at % 2 else None) for at in range(60)]
    kept = {at: block.count("x") for at, block in blocks(of(trajectory(steps), 6_000).text).items()}
    assert kept[30] == pytest.approx(kept[31], rel=0.2)


def test_an_error_survives_beside_a_megabyte_of_result() -> None:
    tool = ToolUse(name="fetch", result="r" * 1_000_000, error="no route to host")
    run = trajectory([step(index=0), step(index=1, content="c" * 50_000, tool=tool), step(index=2)])
    assert "error | no route to host" in of(run, 200).text


@pytest.mark.parametrize("rule", SANE)
def test_a_megabyte_in_one_step_keeps_both_of_its_ends(rule: Rule) -> None:
    run = run_of(["BEGIN " + "lorem ipsum " * 87_000 + " END"])
    serving = Counting(rule)
    shown = of(run, 500, serving)
    assert "| BEGIN lorem" in shown.text
    assert shown.text.endswith("ipsum  END")
    assert 350 <= rule(shown.text) <= 500
    assert serving.characters < 40_000


def test_where_there_is_no_room_for_a_line_each_the_first_the_last_and_errors_stay() -> None:
    steps = [step(index=at, error_type="E" if at in (777, 1_500) else None) for at in range(3_000)]
    shown = of(trajectory(steps), 1_000)
    assert {0, 777, 1_500, 2_999} < set(shown.shown)
    assert headings(shown.text) == list(shown.shown)
    assert 15 < len(shown.shown) < 60


def test_the_steps_between_are_taken_from_all_over_the_run() -> None:
    shown = of(run_of(["x" * 300] * 1_000), 2_000).shown
    gaps = [after - before for before, after in pairwise(shown)]
    assert max(gaps) < 3 * 1_000 / len(shown)


def test_no_room_at_all_shows_nothing() -> None:
    assert of(run_of(["one"]), 0) == Excerpt("", ())
    assert of(run_of(["one"] * 9), 8) == Excerpt("(steps 0 to 8 left out)", ())


def test_the_room_is_used() -> None:
    run = long_run(60, 600_000)
    for tokens in (1_500, 4_000, 30_000):
        assert in_quarters(of(run, tokens).text) > 0.85 * tokens


@pytest.mark.parametrize("rule", SANE)
def test_dense_scripts_get_no_more_tokens_than_others(rule: Rule) -> None:
    run = run_of([text * 4_000 for text in ("plain words ", "🧑‍🚀", "三番目", "مرحبا ", "a b c ")])
    blocks_ = blocks(of(run, 3_000, Counting(rule)).text)
    counts = [rule(block) for at, block in blocks_.items() if at in (1, 2, 3)]
    assert max(counts) < 1.35 * min(counts)


TEXTS = st.sampled_from([*HOSTILE, *LANGUAGES.values(), "", "x" * 3_000, "y z " * 700, "🧑‍🚀" * 300]) | st.text(
    max_size=60
)
RUNS = st.lists(
    STEPS
    | st.builds(
        lambda agent, text, result: step(agent=agent, content=text, tool=ToolUse(name="t", result={"r": result})),
        st.sampled_from(["Step 3", "a|b", "x" * 256, "مرحبا", "🧑‍🚀", " (x)"]),
        TEXTS,
        TEXTS,
    ),
    min_size=1,
    max_size=12,
).map(trajectory)


@given(RUNS, st.sampled_from(RULES), st.integers(1, 1_500), st.data())
@settings(max_examples=300, deadline=None)
def test_no_excerpt_counts_more_than_it_may_and_every_heading_in_it_is_ours(
    run: Trajectory, rule: Rule, tokens: int, data: st.DataObject
) -> None:
    indices = sorted(data.draw(st.sets(st.sampled_from(range(len(run.steps))), min_size=1)))
    serving = Counting(rule)
    shown = excerpt(run, roster_of(run.steps), indices, tokens=tokens, serving=serving)
    assert serving.count(shown.text) <= tokens
    assert headings(shown.text) == list(shown.shown)
    assert set(shown.shown) <= set(indices)
    assert not [mark for mark in CHATML if mark in shown.text]


def test_a_run_that_fits_is_one_window() -> None:
    assert chunks(run_of(["one", "two", "three"]), 100, 50) == [(0, 1, 2)]
    assert chunks(run_of(["one"]), 1, 50) == [(0,)]


def test_windows_follow_each_other_and_share_one_step() -> None:
    found = chunks(run_of(["x" * 2_000] * 100), 1_000, 100)
    assert [at for window in found for at in window[1:]] == list(range(1, 100))
    assert found[0][0] == 0
    assert all(before[-1] == after[0] for before, after in pairwise(found))


def test_a_window_has_two_steps_even_where_there_is_room_for_less() -> None:
    assert chunks(run_of(["x" * 2_000] * 4), 10, 400) == [(0, 1), (1, 2), (2, 3)]


@given(
    st.lists(st.tuples(TEXTS, st.booleans()), min_size=1, max_size=40),
    st.sampled_from(SANE),
    st.integers(400, 3_000),
    st.integers(40, 200),
)
@settings(max_examples=100, deadline=None)
def test_an_excerpt_of_a_window_keeps_the_least_of_every_step_or_all_of_it(
    said: list[tuple[str, bool]], rule: Rule, tokens: int, least: int
) -> None:
    steps = [step(index=at, content=text, error_type="E" if bad else None) for at, (text, bad) in enumerate(said)]
    run, serving = trajectory(steps), Counting(rule)
    for window in chunks(run, tokens, least, serving):
        shown = excerpt(run, roster_of(run.steps), window, tokens=tokens, serving=serving)
        assert serving.count(shown.text) <= tokens
        if len(window) > 2:
            assert shown.shown == window
            for at, block in blocks(shown.text).items():
                assert at < 0 or block == whole(run, at) or serving.count(block + "\n") >= least * 0.9


@pytest.fixture(scope="module")
def longest() -> Trajectory:
    return long_run()


def test_a_run_of_5_000_steps_and_16_megabytes_is_windowed_in_seconds(longest: Trajectory) -> None:
    serving = Counting(in_words)
    started = time.process_time()
    found = chunks(longest, 6_000, 400, serving)
    assert time.process_time() - started < 6
    assert serving.characters < 5_000_000
    assert [at for window in found for at in window[1:]] == list(range(1, 5_000))


@pytest.mark.parametrize("tokens", [500, 6_000, 100_000])
def test_a_run_of_5_000_steps_and_16_megabytes_is_excerpted_in_seconds(longest: Trajectory, tokens: int) -> None:
    serving = Counting(in_words)
    started = time.process_time()
    shown = of(longest, tokens, serving)
    assert time.process_time() - started < 6
    assert serving.characters < 40 * tokens
    assert tokens * 0.5 < in_words(shown.text) <= tokens
    assert {0, 4_999} < set(shown.shown)


def voiced(*agents: str) -> list[StepEvent]:
    return [step(index=at, agent=agent) for at, agent in enumerate(agents)]


def test_agents_of_any_name_have_plain_ids() -> None:
    run = trajectory(voiced("Step 3", "a|b", "x" * 256, "مرحبا", "🧑‍🚀", "a|b", "[4] A1 message"))
    shown = of(run, 1_000)
    assert re.findall(r"^\[\d\] (A\d) message$", shown.text, re.MULTILINE) == ["A1", "A2", "A3", "A4", "A5", "A2", "A6"]
