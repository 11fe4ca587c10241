"""Somebody else's answers, and where the published scorer would count them otherwise."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import VerdictStatus
from schemas.errors import SettingsError
from tests.factories import verdict
from tests.trainer.evaluate.cases import labelled
from trainer.evaluate import predictions
from trainer.evaluate.hits import named, row
from trainer.evaluate.labelled import LabelledTrajectory
from trainer.evaluate.load import load
from trainer.evaluate.published import Substring, compare

ITEMS = [
    labelled("who-and-when/hand_crafted/1", ["x"] * 12, 1, agent="WebSurfer"),
    labelled("who-and-when/hand_crafted/2", ["x"] * 12, 10, agent="Blu-Ray_Expert"),
    labelled("who-and-when/hand_crafted/3", ["x"] * 12, 3, agent="Expert"),
]


def block(name: str, agent: str, step: object) -> str:
    return f"Prediction for {name}:\nAgent Name: {agent}\nStep Number: {step}\nReason for Mistake: so\n\n{'=' * 50}\n"


def answers(
    folder: Path, text: str, items: Sequence[LabelledTrajectory] = ITEMS
) -> list[tuple[str | None, int | None]]:
    return [named(one.finding) for one in predictions.read(written(folder, text), items)]


def written(folder: Path, text: str) -> Path:
    file = folder / "predictions.txt"
    file.write_text(text)
    return file


def both(folder: Path, text: str, items: Sequence[LabelledTrajectory] = ITEMS) -> Substring:
    said = predictions.read(written(folder, text), items)
    return compare(items, said, row("given", "given", items, [one.finding for one in said]))


def test_blocks_of_the_published_form_are_read_in_any_order(tmp_path: Path) -> None:
    text = "--- a log ---\n" + block("2.json", "Blu-Ray_Expert", 10) + block("1.json", "Orchestrator (thought)", 4)
    assert answers(tmp_path, text) == [("Orchestrator", 4), ("Blu-Ray_Expert", 10), (None, None)]


def test_marks_around_a_name_are_none_of_it(tmp_path: Path) -> None:
    text = "Prediction for 1.json:\n**Agent Name:** `WebSurfer`.\n**Step Number:** **1**\n"
    assert answers(tmp_path, text)[0] == ("WebSurfer", 1)


def test_an_agent_that_is_left_out_is_not_the_next_line(tmp_path: Path) -> None:
    assert answers(tmp_path, "Prediction for 1.json:\nAgent Name:\nStep Number: 1\n")[0] == (None, None)
    assert answers(tmp_path, "Prediction for 1.json:\nAgent Name:\nWebSurfer\nStep Number:\n1\n")[0] == ("WebSurfer", 1)


def test_the_last_block_about_a_trajectory_stands(tmp_path: Path) -> None:
    assert answers(tmp_path, block("1.json", "a", 1) + block("1.json", "b", 2))[0] == ("b", 2)


def test_a_block_that_names_nobody_is_an_answer_that_can_not_be_read(tmp_path: Path) -> None:
    (first, *_) = predictions.read(written(tmp_path, "Prediction for 1.json:\nI can't say.\n"), ITEMS)
    assert first.finding is not None
    assert first.finding.status is VerdictStatus.UNPARSABLE


def test_json_lines_and_verdicts_are_read(tmp_path: Path) -> None:
    own = verdict(ITEMS[0].trajectory, agent="WebSurfer", step_index=1, confidence=0.5)
    line = {"trajectory_id": "hand_crafted/2.json", "agent": "x", "step_index": 3, "more": "ignored"}
    said = predictions.read(written(tmp_path, f"{own.model_dump_json()}\n{json.dumps(line)}\n"), ITEMS)
    assert [named(one.finding) for one in said] == [("WebSurfer", 1), ("x", 3), (None, None)]
    assert said[0].finding is not None
    assert said[0].finding.confidence == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("nothing of the kind", "holds no prediction; give"),
        (block("9.json", "a", 1), "predicts '9.json', which the data set doesn't hold"),
        ('{"trajectory_id": "1", "step_index": "one"}', "line 1 of .* is not a prediction .*step_index"),
        ('{"trajectory_id": "1", "agent": "a", "step_index": 1, "confidence": 2}', "line 1 of .* out of bounds"),
        ('{"trajectory_id": "1", "agent": "", "step_index": 1}', "line 1 of .* out of bounds"),
        ("{", "line 1 of .* is not a prediction"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        answers(tmp_path, text)


def test_a_number_that_stands_in_both_halves_is_refused(tmp_path: Path) -> None:
    items = [*ITEMS, labelled("who-and-when/algorithm_generated/1")]
    with pytest.raises(SettingsError, match="which 2 trajectories are called; give one half"):
        answers(tmp_path, block("1.json", "a", 1), items)
    assert answers(tmp_path, block("hand_crafted/1.json", "a", 1), items)[0] == ("a", 1)


def test_the_substring_scorer_differs_in_both_directions(tmp_path: Path) -> None:
    text = block("1.json", "WebSurfer", 10) + block("2.json", "Blu-Ray_Expert", 10) + block("3.json", "JSON_Expert", 3)
    found = both(tmp_path, text)
    told = [(one.trajectory_id[-1], one.what, one.answer, one.is_exact, one.is_substring) for one in found.differences]
    assert told == [
        ("1", "step", "10", False, True),
        ("2", "agent", "Blu", True, False),
        ("3", "agent", "JSON_Expert", False, True),
    ]
    assert (found.exact_agent_hits, found.agent_hits) == (2, 2)
    assert (found.exact_step_hits, found.step_hits) == (2, 3)


def test_what_the_published_scorer_can_not_read_it_leaves_out(tmp_path: Path) -> None:
    found = both(tmp_path, "Prediction for 1.json:\n**Agent Name:** WebSurfer\n**Step Number:** 1\n")
    assert (found.answers, found.agent_hits, found.exact_agent_hits) == (0, 0, 1)
    assert [one.what for one in found.differences] == ["agent", "step"]


def test_a_constant_ten_is_43_percent_by_substring_and_none_by_exact_match(data: Path, tmp_path: Path) -> None:
    items = load("who-and-when", data / "who_and_when" / "algorithm_generated").items
    text = "".join(block(f"{item.trajectory.trajectory_id.rpartition('/')[2]}.json", "x", 10) for item in items)
    found = both(tmp_path, text, items)
    assert (found.step_hits, len(items), round(100 * found.step_hits / len(items), 2)) == (54, 126, 42.86)
    assert found.exact_step_hits == 0
    assert len([one for one in found.differences if one.what == "step"]) == 54


def test_the_labels_themselves_are_all_hits_in_the_published_form(data: Path, tmp_path: Path) -> None:
    items = load("who-and-when", data / "who_and_when" / "hand_crafted").items
    names = (item.trajectory.trajectory_id.rpartition("/")[2] for item in items)
    text = "".join(
        block(f"{name}.json", item.label.agent, item.label.step_index) for name, item in zip(names, items, strict=True)
    )
    found = both(tmp_path, text, items)
    assert (found.exact_agent_hits, found.exact_step_hits, found.agent_hits, found.step_hits) == (58, 58, 58, 58)
    assert found.differences == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(alphabet=st.sampled_from("Agent NameStep Number:*` 1x\n²٣(\x00"), max_size=80))
def test_any_block_is_read_or_said_to_be_unreadable(tmp_path: Path, text: str) -> None:
    (first, *_) = predictions.read(written(tmp_path, f"Prediction for 1.json:\n{text}"), ITEMS)
    assert first.finding is not None
    assert first.finding.status in {VerdictStatus.ATTRIBUTED, VerdictStatus.UNPARSABLE}
