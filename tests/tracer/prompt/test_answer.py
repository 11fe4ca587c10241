"""The form of an answer: as a grammar, and read back."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.engines.protocol import Grammar
from tracer.prompt.answer import THINK_CHARACTERS, Answer, answer_grammar, read_answer

EXACT = "<think>It adds two numbers wrong.</think><answer>A2 | 14</answer>"

Accepts = Callable[[Grammar, str], bool]


@pytest.fixture(scope="module")
def accepts() -> Accepts:
    """Return whether the engine's grammar library takes a whole text for a sentence."""
    xgrammar: Any = pytest.importorskip("xgrammar")
    testing: Any = pytest.importorskip("xgrammar.testing")

    def accepted(grammar: Grammar, text: str) -> bool:
        return bool(testing._is_grammar_accept_string(xgrammar.Grammar.from_ebnf(grammar.ebnf), text))

    return accepted


THINKS = answer_grammar(("A1", "A2", "A3"), range(15), thinks=True)
ANSWERS = answer_grammar(("A1", "A2", "A3"), range(15), thinks=False)


@pytest.mark.parametrize(
    "text",
    [
        EXACT,
        EXACT.replace("</think>", "</think>\n"),
        "<think>\nè una riga\ne un'altra\n</think>\n\n<answer>A1 | 0</answer>",
        f"<think>{'字' * THINK_CHARACTERS}</think><answer>A3 | 9</answer>",
    ],
)
def test_a_sentence_of_the_grammar_is_exact(accepts: Accepts, text: str) -> None:
    read = read_answer(text)
    assert accepts(THINKS, text)
    assert read is not None
    assert read.is_exact


@pytest.mark.parametrize(
    "text",
    [
        EXACT.replace("14", "15"),
        EXACT.replace("14", "014"),
        EXACT.replace("A2", "A4"),
        EXACT.replace("A2", "A22"),
        EXACT.replace(" | ", "|"),
        EXACT.replace("It adds", "It <adds>"),
        EXACT + "\n",
        "<think></think><answer>A2 | 14</answer>",
        "<think> \n</think><answer>A2 | 14</answer>",
        f"<think>{'x' * (THINK_CHARACTERS + 1)}</think><answer>A2 | 14</answer>",
        "<answer>A2 | 14</answer>",
        EXACT.removesuffix("</answer>"),
        "",
    ],
)
def test_the_grammar_refuses_what_is_not_its_form(accepts: Accepts, text: str) -> None:
    assert not accepts(THINKS, text)


def test_without_thoughts_the_grammar_is_the_answer_alone(accepts: Accepts) -> None:
    assert accepts(ANSWERS, "<answer>A3 | 7</answer>")
    assert not accepts(ANSWERS, EXACT)
    assert not accepts(ANSWERS, "<answer>A3 | 15</answer>")


def test_the_thoughts_are_as_long_as_they_are_let(accepts: Accepts) -> None:
    short = answer_grammar(("A1",), (0,), thinks=True, think_characters=3)
    assert accepts(short, "<think>abc</think><answer>A1 | 0</answer>")
    assert not accepts(short, "<think>abcd</think><answer>A1 | 0</answer>")


def test_a_grammar_of_5_000_steps_and_200_agents_is_short_and_exact(accepts: Accepts) -> None:
    grammar = answer_grammar([f"A{number}" for number in range(1, 201)], range(5_000), thinks=False)
    assert len(grammar.ebnf) < 1_000
    for agent, step, right in (("A200", 4999, True), ("A1", 0, True), ("A201", 5, False), ("A20", 5000, False)):
        assert accepts(grammar, f"<answer>{agent} | {step}</answer>") is right


@given(st.sets(st.integers(0, 5_000), min_size=1), st.sets(st.integers(1, 200), min_size=1), st.data())
def test_the_grammar_takes_the_given_agents_and_steps_and_no_others(
    accepts: Accepts, steps: set[int], agents: set[int], data: st.DataObject
) -> None:
    grammar = answer_grammar([f"A{number}" for number in agents], steps, thinks=False)
    agent = data.draw(st.sampled_from(sorted(agents)) | st.integers(1, 200))
    step = data.draw(st.sampled_from(sorted(steps)) | st.integers(0, 5_000))
    right = agent in agents and step in steps
    assert accepts(grammar, f"<answer>A{agent} | {step}</answer>") is right


def test_the_exact_form_is_read() -> None:
    assert read_answer(EXACT) == Answer("A2", 14, "It adds two numbers wrong.", is_exact=True)


def test_the_last_well_formed_answer_counts() -> None:
    text = "<answer>A1 | 2</answer> or <answer>A3|4</answer> or <answer>nobody | 5</answer>"
    assert read_answer(text) == Answer("A3", 4, "<answer>A1 | 2</answer> or", is_exact=False)


@pytest.mark.parametrize(
    ("text", "think"),
    [
        ("The price is wrong.\n<answer>A2 | 14</answer>", "The price is wrong."),
        ("The price is wrong.</think><answer>A2 | 14</answer>", "The price is wrong."),
        ("<think>a</think><think>b</think>So:<answer>A2 | 14</answer>", "b"),
        ("<answer>A2 | 14</answer>", ""),
    ],
)
def test_what_stands_before_an_answer_is_its_thought(text: str, think: str) -> None:
    assert read_answer(text) == Answer("A2", 14, think, is_exact=False)


@pytest.mark.parametrize(
    "text",
    [
        " " + EXACT,
        EXACT + "\n",
        EXACT + EXACT,
        EXACT.replace("</think>", "</think>\n\n\n"),
        EXACT.replace("</think>", "</think> "),
        EXACT.replace("14", "014"),
        EXACT.replace(" | ", "  | "),
        EXACT.replace("It adds", "<think>It adds"),
        EXACT.replace("It adds", "</answer>It adds"),
        EXACT.replace("It adds two numbers wrong.", " \n"),
    ],
)
def test_what_only_resembles_the_form_is_read_but_not_exact(text: str) -> None:
    read = read_answer(text)
    assert read is not None
    assert (read.agent_id, read.step_index, read.is_exact) == ("A2", 14, False)


def test_a_thought_may_compare_numbers() -> None:
    read = read_answer("<think>3 < 5, and 5 > 4</think><answer>A2 | 14</answer>")
    assert read == Answer("A2", 14, "3 < 5, and 5 > 4", is_exact=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A2 | 14",
        "<answer></answer>",
        "<answer>A2 | </answer>",
        "<answer>A2 | 1",
        "<answer>A0 | 1</answer>",
        "<answer>A2 | -1</answer>",
        "<answer>A2 | ١٤</answer>",
        "<answer>A2 | 1234567890</answer>",
        "<answer>A1234567890 | 1</answer>",
        "<answer>WebSurfer | 3</answer>",
    ],
)
def test_what_holds_no_answer_gives_none(text: str) -> None:
    assert read_answer(text) is None


TAGGED = st.lists(
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "A1", " | ", "|", "7", " ", "\n", "9" * 30, "<"])
    | st.text(max_size=5)
).map("".join)


@given(st.text() | TAGGED)
def test_reading_never_raises_and_names_a_bounded_step(text: str) -> None:
    read = read_answer(text)
    assert read is None or (0 <= read.step_index < 10**9 and read.agent_id.startswith("A"))


@pytest.mark.parametrize("piece", ["<answer>", "<answer> ", "<think>", "</think>", "<answer>A1 | ", " ", "9", "\ud800"])
def test_a_megabyte_of_rubbish_is_read_in_no_time(piece: str) -> None:
    rubbish = piece * (1_000_000 // len(piece))
    assert read_answer(rubbish) is None
    assert read_answer(f"<think>{rubbish}</think><answer>A1 | 7</answer>") is not None
