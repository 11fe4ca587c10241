"""The loaders: the real data set where it is present, our own format, and somebody else's by a mapping."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import LabelSource
from schemas.errors import SettingsError
from tests.trainer.evaluate.cases import labelled
from trainer.evaluate import tracertraj
from trainer.evaluate.labelled import Dataset, Origin, without_truth
from trainer.evaluate.load import load

FILE = {
    "question": "What is asked?",
    "question_ID": "q-1",
    "ground_truth": "42",
    "mistake_agent": "Orchestrator",
    "mistake_step": "1",
    "history": [
        {"role": "human", "content": "please"},
        {"role": "Orchestrator (thought)", "content": "let me guess"},
        {"role": "WebSurfer", "content": "looked"},
    ],
}
MAPPING = """
name = "bench"
steps = "log.messages"
agent = ["meta.agent", "role"]
content = ["input", "output"]
task = "question"
task_group = "task"
ground_truth = "answer"
gold_agent = "label.agent"
gold_step = "label.step"
first_step = 1
part = "split"
"""
RECORD = {
    "question": "What is asked?",
    "task": "task-7",
    "answer": 42,
    "split": "test",
    "log": {
        "messages": [
            {"role": "planner", "input": "a"},
            {"role": "tool", "meta": {"agent": "coder"}, "input": "b", "output": {"found": [1]}},
        ]
    },
    "label": {"agent": "coder", "step": 2},
}


def written(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def mapped(folder: Path, *records: Any, mapping: str = MAPPING) -> Dataset:
    for number, record in enumerate(records):
        written(folder / "runs" / f"{number}.json", record)
    return load("mapped", folder / "runs", written(folder / "mapping.toml", mapping))


# ---- Who&When ------------------------------------------------------------------------------------------------------


def test_both_halves_are_184_natural_failures_in_139_task_groups(data: Path) -> None:
    found = load("who-and-when", data / "who_and_when")
    assert len(found.items) == 184
    assert len({item.task_group for item in found.items}) == 139
    assert [sum(item.part == half for item in found.items) for half in ("algorithm_generated", "hand_crafted")] == [
        126,
        58,
    ]
    assert {item.origin for item in found.items} == {Origin.NATURAL}
    assert {item.label.source for item in found.items} == {LabelSource.HUMAN}


def test_every_label_is_what_the_file_says_whoever_speaks_there(data: Path) -> None:
    otherwise = set()
    for item in load("who-and-when", data / "who_and_when").items:
        _, half, number = item.trajectory.trajectory_id.split("/")
        content = json.loads((data / "who_and_when" / half / f"{number}.json").read_bytes())
        assert (item.label.agent, str(item.label.step_index)) == (content["mistake_agent"], content["mistake_step"])
        assert [step.content for step in item.trajectory.steps] == [entry["content"] for entry in content["history"]]
        assert item.trajectory.outcome is not None
        assert item.trajectory.outcome.ground_truth == content["ground_truth"]
        if item.trajectory.steps[item.label.step_index].agent != item.agent:
            otherwise.add((half, int(number)))
    assert otherwise == {
        *(("algorithm_generated", number) for number in (14, 15, 59)),
        *(("hand_crafted", number) for number in (20, 22, 49)),
    }


def test_who_asks_without_the_truth_is_not_shown_it(data: Path) -> None:
    for item in load("who-and-when", data / "who_and_when" / "hand_crafted").items:
        shown = without_truth(item.trajectory)
        assert shown.outcome is not None
        assert shown.outcome.ground_truth is None
        assert all(step.outcome is None for step in shown.steps)
        assert shown.task == item.trajectory.task
        assert item.label.reason is not None
        assert item.label.reason not in item.trajectory.model_dump_json()


def test_the_digest_is_that_of_the_content_wherever_and_whenever_it_lies(tmp_path: Path) -> None:
    first = load("who-and-when", written(tmp_path / "a" / "1.json", FILE))
    assert load("who-and-when", written(tmp_path / "b" / "1.json", FILE)).digest == first.digest
    assert load("who-and-when", written(tmp_path / "c" / "1.json", FILE | {"mistake_step": "2"})).digest != first.digest


def test_the_hand_crafted_voices_are_one_agent(tmp_path: Path) -> None:
    (item,) = load("who-and-when", written(tmp_path / "1.json", FILE)).items
    assert [step.agent for step in item.trajectory.steps] == ["human", "Orchestrator", "WebSurfer"]
    assert (item.agent, item.label.step_index, item.part) == ("Orchestrator", 1, "hand_crafted")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("{", "is not a Who&When file"),
        (FILE | {"mistake_step": 1}, "mistake_step: Input should be a valid string"),
        (FILE | {"mistake_step": "3"}, "labels step '3', which its history doesn't have"),
        (FILE | {"mistake_step": "-1"}, "labels step '-1'"),
        (FILE | {"mistake_step": "²"}, "labels step '²'"),
        (FILE | {"history": []}, "labels step '1'"),
        (FILE | {"mistake_agent": ""}, "can't be made a trajectory: label.agent|agent"),
        (FILE | {"question_ID": "q\n1"}, "can't be made a trajectory"),
        ({key: value for key, value in FILE.items() if key != "mistake_agent"}, "mistake_agent: Field required"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path: Path, content: Any, words: str) -> None:
    file = written(tmp_path / "7.json", content)
    with pytest.raises(SettingsError, match=words) as raised:
        load("who-and-when", tmp_path)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_with_nothing_in_it_and_no_folder_are_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no \.json file"):
        load("who-and-when", tmp_path)
    with pytest.raises(SettingsError, match="there is nothing at"):
        load("who-and-when", tmp_path / "elsewhere")


# ---- TracerTraj ----------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    kept = [labelled("a", origin=Origin.INJECTED, kinds=("subtle",)), labelled("b", gold=2, group="g", part="test")]
    tracertraj.write(tmp_path / "kept.jsonl", kept)
    assert list(load("tracertraj", tmp_path).items) == kept


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"origin": "made up"}, "origin: Input should be 'injected' or 'natural'"),
        ({"task_group": ""}, "task_group"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"label": {**json.loads(labelled("a").label.model_dump_json()), "step_index": 3}}, "step 3 is labelled"),
        ({"label": {**json.loads(labelled("a").label.model_dump_json()), "trajectory_id": "b"}}, "label is of 'b'"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    good = labelled("a").model_dump_json()
    file = written(tmp_path / "kept.jsonl", f"{good}\n\n{json.dumps(json.loads(good) | change)}\n")
    with pytest.raises(SettingsError, match=words) as raised:
        load("tracertraj", file)
    assert f"line 3 of {str(file)!r}" in str(raised.value)


def test_an_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    tracertraj.write(tmp_path / "kept.jsonl", [labelled("a"), labelled("a", gold=2)])
    with pytest.raises(SettingsError, match="'a' comes twice"):
        load("tracertraj", tmp_path)


def test_a_limit_takes_the_first_of_each_part_under_the_same_digest(tmp_path: Path) -> None:
    tracertraj.write(tmp_path / "kept.jsonl", [labelled(name, part=name[0]) for name in ("a1", "a2", "b1", "a3", "b2")])
    found = load("tracertraj", tmp_path)
    few = found.first(1)
    assert [item.trajectory.trajectory_id for item in few.items] == ["a1", "b1"]
    assert few.digest == found.digest
    assert found.first(None) == found


# ---- by a mapping --------------------------------------------------------------------------------------------------


def test_a_mapping_says_what_lies_where(tmp_path: Path) -> None:
    (item,) = mapped(tmp_path, RECORD).items
    steps = item.trajectory.steps
    assert [(step.agent, step.content) for step in steps] == [("planner", "a"), ("coder", 'b\n{"found": [1]}')]
    assert (item.label.agent, item.label.step_index) == ("coder", 1)
    assert (item.task_group, item.part, item.origin) == ("task-7", "test", Origin.NATURAL)
    assert item.trajectory.outcome is not None
    assert (item.trajectory.task, item.trajectory.outcome.ground_truth) == ("What is asked?", "42")


def test_labels_may_lie_in_a_file_of_their_own_and_steps_in_a_tree(tmp_path: Path) -> None:
    spans = [{"id": "s1", "who.is": "a", "below": [{"id": "s2", "who.is": "b"}]}, {"id": "s3", "who.is": "a"}]
    runs = {"runs": [{"run": "r1", "spans": spans}, {"run": "r2", "spans": spans}]}
    labels = [{"of": "r2", "at": [{"span": "s3"}]}, {"of": "r1", "at": [{"span": "s2"}]}]
    written(tmp_path / "runs" / "all.json", runs)
    written(tmp_path / "labels.json", labels)
    mapping = {
        "records": "runs", "id": "run", "steps": "spans", "children": "below", "agent": r"who\.is", "step_id": "id",
        "gold_step": "at.0.span", "origin": "=injected", "labels": {"path": "../labels.json", "id": "of"},
    }  # fmt: skip
    found = load("mapped", tmp_path / "runs", written(tmp_path / "mapping.json", mapping)).items
    assert [(item.trajectory.trajectory_id, item.label.agent, item.label.step_index) for item in found] == [
        ("r1", "b", 1),
        ("r2", "a", 2),
    ]
    assert {item.label.source for item in found} == {LabelSource.FAULT_INJECTION}


@pytest.mark.parametrize(
    ("change", "mapping", "words"),
    [
        ({"label": {}}, MAPPING, "has nothing at 'label.step'"),
        ({"label": {"agent": "coder", "step": 0}}, MAPPING, "labels step '0' of 2 counted from 1"),
        ({"label": {"agent": "coder", "step": "two"}}, MAPPING, "labels step 'two'"),
        ({"label": {"step": 1}}, MAPPING, "has nothing at 'label.agent'"),
        ({"log": {"messages": []}}, MAPPING, "has no list of steps at 'log.messages'"),
        ({"log": {"messages": [{}, {}]}}, MAPPING, "step 0 of .* has no agent at 'meta.agent' or 'role'"),
        ({}, MAPPING + 'origin = "=made up"', "'made up' is not a valid Origin"),
        ({}, MAPPING + 'stpes = "x"', "is no mapping: stpes: Extra inputs"),
        ({}, "name = ", "is neither TOML nor JSON"),
        ({}, 'steps = "log.messages"', "is no mapping: gold_step: Field required"),
        ({}, MAPPING + '[labels]\npath = "nowhere.json"', "there is nothing at .*nowhere.json"),
    ],
)
def test_what_a_mapping_does_not_find_is_an_error_and_no_guess(
    tmp_path: Path, change: dict[str, Any], mapping: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        mapped(tmp_path, RECORD | change, mapping=mapping)


def test_a_mapping_goes_with_its_form_and_no_other(tmp_path: Path) -> None:
    written(tmp_path / "1.json", FILE)
    with pytest.raises(SettingsError, match="--mapping"):
        load("mapped", tmp_path)
    with pytest.raises(SettingsError, match="--mapping"):
        load("who-and-when", tmp_path, written(tmp_path / "mapping.toml", MAPPING))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["log", "label", "step"]), below),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(JSON, st.sampled_from(["log", "label", "split", "task", "answer", "question"]))
def test_any_json_is_read_or_refused_in_our_words(tmp_path: Path, value: Any, key: str) -> None:
    with suppress(SettingsError):  # and nothing else
        assert len(mapped(tmp_path, RECORD | {key: value}).items) == 1
