"""A step as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Outcome, Result, StepEvent, StepKind, ToolUse
from tests.factories import step
from tests.strategies import STEPS
from tests.tracer.prompt.pages import CHATML, HOSTILE, LANGUAGES, headings, ours
from tracer.prompt.render import Part, level, parts_of, shortened, step_lines, unmarked, written


def lines(of: StepEvent) -> list[str]:
    return step_lines(of, 3, "A2", CHATML).split("\n")


def test_a_message_is_a_heading_and_what_was_said() -> None:
    assert lines(step(content="I am done.\n\nBye.")) == ["[3] A2 message", "| I am done.", "|", "| Bye."]


def test_a_tool_call_shows_name_arguments_result_and_error() -> None:
    tool = ToolUse(name="search", arguments={"q": "opening hours", "n": 3}, result=["nine", None], error="too slow")
    called = step(kind=StepKind.TOOL_CALL, content="I look.", input="Look!", tool=tool, error_type="TimeoutError")
    assert lines(called) == [
        "[3] A2 tool_call | search",
        "| I look.",
        "input | Look!",
        'arguments | {"q":"opening hours","n":3}',
        'result | ["nine",null]',
        "error | TimeoutError: too slow",
    ]


def test_a_result_that_is_a_text_keeps_its_lines_and_letters() -> None:
    assert lines(step(content="", tool=ToolUse(name="t", result='"Zürich"\nBern'))) == [
        "[3] A2 message | t",
        'result | "Zürich"',
        "| Bern",
    ]


def test_a_voice_is_shown_beside_the_agents_id() -> None:
    assert lines(step(agent="Orchestrator (thought)", content="hm")) == ["[3] A2 message | (thought)", "| hm"]


def test_a_long_tool_name_and_a_long_voice_are_parts_of_their_own() -> None:
    tool, voice = "t" * 65, f"({'v' * 64})"
    assert lines(step(agent=f"a {voice}", content="", tool=ToolUse(name=tool))) == [
        "[3] A2 message",
        f"tool | {tool}",
        f"as | {voice}",
    ]


def test_what_the_sender_cut_is_marked() -> None:
    assert lines(step(content="I a", truncated=True)) == ["[3] A2 message (cut by its sender)", "| I a"]


def test_an_empty_step_is_its_heading() -> None:
    assert lines(step(content="")) == ["[3] A2 message"]


def test_a_steps_outcome_is_never_shown() -> None:
    told = Outcome(result=Result.FAILURE, ground_truth="SECRET-1", reason="SECRET-2")
    assert "SECRET" not in step_lines(step(outcome=told, attributes={"gold": "SECRET-3"}), 0, "A1")


@pytest.mark.parametrize("text", LANGUAGES.values(), ids=LANGUAGES)
def test_every_script_stands_as_it_was_written(text: str) -> None:
    assert lines(step(content=text, tool=ToolUse(name="t", result={text: text})))[1:] == [
        f"| {text}",
        f'result | {{"{text}":"{text}"}}',
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_step_looks_like_ours(text: str) -> None:
    name = " ".join(text.splitlines()).strip()
    tool = ToolUse(name=name, arguments={text: text}, result=text, error=text)
    shown = step_lines(step(agent=f"a ({name})", content=text, input=text, error_type=name, tool=tool), 3, "A2", CHATML)
    assert headings(shown) == [3]


@given(STEPS)
def test_a_step_as_odd_as_the_contract_allows_has_one_heading(of: StepEvent) -> None:
    assert headings(step_lines(of, 7, "A1", CHATML)) == [7]


TORN = st.lists(st.sampled_from([*CHATML, *HOSTILE, "<", "|", ">", "im_end", "answer", "/", " ", "x"])).map("".join)


@given(TORN | st.text())
def test_no_mark_of_a_tokenizer_is_left(text: str) -> None:
    left = unmarked(text, CHATML).lower()
    assert not [mark for mark in (*CHATML, "<|", "<answer>", "</answer>", "</think>") if mark.lower() in left]


@given(TORN, st.lists(st.text(alphabet="<|> ab", min_size=1, max_size=4), max_size=4).map(tuple))
def test_whatever_a_tokenizer_reserves_is_broken_up(text: str, reserved: tuple[str, ...]) -> None:
    left = unmarked(text, reserved).lower()
    assert not [mark for mark in reserved if mark.strip() and mark.lower() in left]


def test_text_without_marks_is_left_alone() -> None:
    html = "if a < b | c > d: <div class='answer'>…</div> 𝄞 \t"
    assert unmarked(html, CHATML) == html


def test_half_a_surrogate_pair_can_be_encoded() -> None:
    assert step_lines(step(content="a\ud800b"), 0, "A1").encode().endswith("| a\ufffdb".encode())


def test_a_shortened_part_keeps_its_ends_and_says_how_much_is_missing() -> None:
    (part,) = shortened((Part("", "a" * 50 + "b" * 1_000 + "c" * 50),), 50)
    assert part == Part("", "a" * 30, 1_050, "c" * 20)
    assert written("[0] A1 message", (part,), ()) == (
        f"[0] A1 message\n| {'a' * 30}\n(1,050 characters left out)\n| {'c' * 20}"
    )


def test_a_part_with_hardly_any_room_is_left_out_and_says_so() -> None:
    parts = shortened((Part("input", "i" * 900), Part("result", "r" * 900)), 36)
    assert written("[0] A1 message", parts, ()).split("\n")[1:3] == [
        "input (900 characters left out)",
        f"result | {'r' * 15}",
    ]


def test_where_a_step_is_shortened_its_error_keeps_most() -> None:
    tool = ToolUse(name="t", arguments="a" * 5_000, result="r" * 5_000, error="e" * 5_000)
    cut = shortened(parts_of(step(content="c" * 5_000, tool=tool)), 900)
    assert {part.label: len(part.text + part.tail) for part in cut} == {
        "": 200,
        "arguments": 100,
        "result": 200,
        "error": 400,
    }


def test_a_short_part_leaves_its_room_to_the_others() -> None:
    cut = shortened((Part("", "c" * 10), Part("result", "r" * 500)), 210)
    assert [len(part.text + part.tail) for part in cut] == [10, 200]


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=5), st.integers(0, 300))
def test_shortening_loses_no_count(texts: list[str], room: int) -> None:
    parts = tuple(Part("", text) for text in texts)
    cut = shortened(parts, room)
    assert [len(part.text + part.tail) + part.left_out for part in cut] == [len(text) for text in texts]
    assert sum(len(part.text + part.tail) for part in cut) <= max(room, 0) or cut == parts


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 4)), min_size=1), st.integers(0, 2_000))
def test_the_share_fills_the_room_and_no_more(wants: list[tuple[float, int]], room: int) -> None:
    share = level(wants, room)
    used = sum(min(size, weight * share) for size, weight in wants)
    assert used <= room + 1e-6
    assert used >= min(room, sum(size for size, _ in wants)) - 1e-6


def test_every_line_of_ours_is_known_to_these_tests() -> None:
    with pytest.raises(AssertionError):
        ours("[3] A2 message\nI am no data")
