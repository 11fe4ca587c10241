"""Recorded runs: the two public data sets where they are present, and files of a stranger's own."""

import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.recorded import tau_bench, who_and_when
from ops.recorded.load import Kind, Recording, detect, load
from ops.recorded.run import RecordedRun
from schemas import Event, KeySource, LabelSource, OutcomeEvent, Result, StepEvent, StepKind
from schemas.errors import SettingsError
from schemas.wire import Line, read_line
from tests.factories import outcome_event, raw, step

BASE = datetime(2026, 3, 1, tzinfo=UTC)
OBJECTS = st.fixed_dictionaries(
    {"trajectory_id": st.sampled_from(["a", "b", "", "\ud800", 7])},
    optional={
        "agent": st.sampled_from(["x", "", None]),
        "kind": st.sampled_from(["outcome", "message", "dance"]),
        "outcome": st.sampled_from([{"result": "failure"}, {}, "failure"]),
        "step_index": st.integers(-1, 3),
        "final": st.booleans(),
        "content": st.text(max_size=5),
    },
)


def events(run: RecordedRun) -> list[Event]:
    found = [own.event for own in run.events]
    assert None not in found
    return [event for event in found if event is not None]


def steps(run: RecordedRun) -> list[StepEvent]:
    return [event for event in events(run) if isinstance(event, StepEvent)]


def last_outcome(run: RecordedRun) -> OutcomeEvent:
    event = events(run)[-1]
    assert isinstance(event, OutcomeEvent)
    return event


def only_run(kind: Kind, path: Path) -> RecordedRun:
    (run,) = load(kind, path, BASE)
    return run


def lines(path: Path, *objects: dict[str, Any] | bytes) -> Path:
    path.write_bytes(b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in objects))
    return path


def who_and_when_file(path: Path, history: list[dict[str, str]], **fields: Any) -> Path:
    content = {
        "question": "What is asked?",
        "question_ID": "q-1",
        "ground_truth": "42",
        "is_corrected": False,
        "mistake_agent": "Orchestrator",
        "mistake_step": "1",
        "mistake_reason": "it guessed",
        "history": history,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | fields))
    return path


HAND_CRAFTED = [
    {"role": "human", "content": "please"},
    {"role": "Orchestrator (thought)", "content": "let me guess"},
    {"role": "Orchestrator (-> WebSurfer)", "content": "look"},
]


def tau_bench_file(path: Path, *messages: dict[str, Any], reward: float = 0.0) -> Path:
    task = {"user_id": "u", "instruction": "cancel it", "actions": [{"name": "cancel", "kwargs": {"id": "R1"}}]}
    run = {"task_id": 7, "trial": 2, "reward": reward, "info": {"task": task}, "traj": list(messages)}
    path.write_text(json.dumps([run]))
    return path


# ---- the data sets -------------------------------------------------------------------------------------------------


def test_both_halves_of_who_and_when_are_184_failed_runs_with_equal_contents(data: Path) -> None:
    folder = data / "who_and_when"
    found = list(load("who-and-when", folder, BASE))
    assert len(found) == len({run.trajectory_id for run in found}) == 184
    for run in found:
        _, half, number = str(run.trajectory_id).split("/")
        content = json.loads((folder / half / f"{number}.json").read_bytes())
        assert [event.content for event in steps(run)] == [entry["content"] for entry in content["history"]]
        assert [event.step_index for event in steps(run)] == list(range(len(content["history"])))
        assert [event.final for event in steps(run)] == [False] * (len(run.events) - 1) + [True]
        last = steps(run)[-1]
        assert last.outcome is not None
        assert (last.outcome.result, last.outcome.ground_truth) == (Result.FAILURE, content["ground_truth"])
        assert {event.task_id for event in steps(run)} == {content["question_ID"]}
        assert steps(run)[0].task == content["question"]


def test_the_agents_of_both_halves_are_their_bare_names(data: Path) -> None:
    halves = {
        half: {event.agent for run in load("who-and-when", data / "who_and_when" / half) for event in steps(run)}
        for half in ("algorithm_generated", "hand_crafted")
    }
    assert "Computer_terminal" in halves["algorithm_generated"]
    assert halves["hand_crafted"] == {
        "Assistant", "ComputerTerminal", "FileSurfer", "Orchestrator", "WebSurfer", "human",
    }  # fmt: skip


def test_every_event_of_the_data_sets_is_accepted_at_the_wire(data: Path) -> None:
    kinds: tuple[tuple[Kind, str], ...] = (("who-and-when", "who_and_when"), ("tau-bench", "tau_bench_airline"))
    for kind, folder in kinds:
        for own in (own for run in load(kind, data / folder, BASE) for own in run.events):
            line = read_line(own.raw)
            assert isinstance(line, Line)
            assert line.event == own.event


def test_no_event_of_who_and_when_holds_what_the_annotators_found(data: Path) -> None:
    folder = data / "who_and_when"
    reasons = {label.trajectory_id: label.reason for label in who_and_when.labels(folder)}
    assert all(reasons.values())
    for run in load("who-and-when", folder, BASE):
        written = json.dumps(reasons[str(run.trajectory_id)], ensure_ascii=False).strip('"').encode()
        assert not any(written in own.raw or b'"mistake_' in own.raw for own in run.events)


def test_who_and_when_has_a_label_for_every_run_on_a_step_of_it(data: Path) -> None:
    folder = data / "who_and_when"
    by_run = {run.trajectory_id: steps(run) for run in load("who-and-when", folder, BASE)}
    labels = list(who_and_when.labels(folder, BASE))
    assert {label.trajectory_id for label in labels} == set(by_run)
    assert {(label.source, label.annotator) for label in labels} == {(LabelSource.HUMAN, "who-and-when")}
    elsewhere = {
        label.trajectory_id.removeprefix("who-and-when/")
        for label in labels
        if by_run[label.trajectory_id][label.step_index].agent != label.agent
    }
    assert elsewhere == {
        "algorithm_generated/14", "algorithm_generated/15", "algorithm_generated/59",
        "hand_crafted/20", "hand_crafted/22", "hand_crafted/49",
    }  # fmt: skip
    assert all(by_run[one.trajectory_id][one.step_index].event_id == one.event_id for one in labels)


def test_one_file_of_who_and_when_is_one_run(data: Path) -> None:
    run = only_run("who-and-when", data / "who_and_when" / "algorithm_generated" / "1.json")
    assert run.trajectory_id == "who-and-when/algorithm_generated/1"
    assert {event.system for event in steps(run)} == {"who-and-when-algorithm-generated"}


def test_tau_bench_is_200_runs_with_every_message_a_step_of_equal_content(data: Path) -> None:
    folder = data / "tau_bench_airline"
    (file,) = folder.glob("*.json")
    content = json.loads(file.read_bytes())
    found = list(load("tau-bench", folder, BASE))
    assert len({run.trajectory_id for run in found}) == len(found) == len(content) == 200
    for run, recorded in zip(found, content, strict=True):
        assert [event.content for event in steps(run)] == [one["content"] or "" for one in recorded["traj"]]
        assert [event.agent_role for event in steps(run)] == [one["role"] for one in recorded["traj"]]
        assert last_outcome(run).step_count == len(recorded["traj"])
        assert last_outcome(run).outcome.score == recorded["reward"]
    results = Counter(last_outcome(run).outcome.result for run in found)
    assert results == {Result.FAILURE: 116, Result.SUCCESS: 84}


def test_the_trials_of_a_task_share_its_task_id(data: Path) -> None:
    tasks = Counter(steps(run)[0].task_id for run in load("tau-bench", data / "tau_bench_airline", BASE))
    assert set(tasks.values()) == {4}


def test_the_data_sets_are_detected(data: Path) -> None:
    assert detect(data / "who_and_when") == "who-and-when"
    assert detect(data / "who_and_when" / "hand_crafted" / "1.json") == "who-and-when"
    assert detect(data / "tau_bench_airline") == "tau-bench"
    assert detect(next((data / "tau_bench_airline").glob("*.json"))) == "tau-bench"


# ---- Who&When files of any origin ----------------------------------------------------------------------------------


def test_a_role_with_a_remark_keeps_the_agent_and_the_whole_role(tmp_path: Path) -> None:
    run = only_run("who-and-when", who_and_when_file(tmp_path / "3.json", HAND_CRAFTED))
    assert [event.agent for event in steps(run)] == ["human", "Orchestrator", "Orchestrator"]
    assert [event.agent_role for event in steps(run)] == [entry["role"] for entry in HAND_CRAFTED]
    assert run.trajectory_id == "who-and-when/hand_crafted/3"
    assert not any(b"it guessed" in own.raw for own in run.events)


def test_a_name_beside_the_role_is_the_agent(tmp_path: Path) -> None:
    history = [{"role": "assistant", "name": "Expert (maths)", "content": "1"}]
    run = only_run("who-and-when", who_and_when_file(tmp_path / "1.json", history, mistake_step="0"))
    assert (steps(run)[0].agent, run.trajectory_id) == ("Expert (maths)", "who-and-when/algorithm_generated/1")


@pytest.mark.parametrize(
    ("flags", "result"),
    [
        ({"is_corrected": False}, Result.FAILURE),
        ({"is_corrected": None, "is_correct": False}, Result.FAILURE),
        ({"is_corrected": None, "is_correct": True}, Result.SUCCESS),
        ({"is_corrected": None}, Result.UNKNOWN),
    ],
)
def test_the_outcome_follows_either_flag(tmp_path: Path, flags: dict[str, Any], result: Result) -> None:
    run = only_run("who-and-when", who_and_when_file(tmp_path / "1.json", HAND_CRAFTED, **flags))
    outcome = steps(run)[-1].outcome
    assert outcome is not None
    assert outcome.result is result


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        who_and_when_file(tmp_path / f"{number}.json", HAND_CRAFTED)
    found = [run.trajectory_id for run in load("who-and-when", tmp_path)]
    assert found == [f"who-and-when/hand_crafted/{number}" for number in (1, 9, 10)]


@pytest.mark.parametrize("step_named", ["3", "-1", "one"])
def test_a_label_on_a_step_that_is_not_there_is_an_error(tmp_path: Path, step_named: str) -> None:
    file = who_and_when_file(tmp_path / "1.json", HAND_CRAFTED, mistake_step=step_named)
    with pytest.raises(SettingsError, match=r"1\.json.*labels step"):
        list(who_and_when.labels(file))


# ---- tau-bench files of any origin ---------------------------------------------------------------------------------


def call(name: str, arguments: str, number: int = 1) -> dict[str, Any]:
    return {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_tool_call_and_its_result_are_two_steps_joined_by_the_call_id(tmp_path: Path) -> None:
    file = tau_bench_file(
        tmp_path / "gpt-4o-retail.json",
        {"role": "system", "content": "policy"},
        {"role": "assistant", "content": None, "tool_calls": [call("get", '{"id": null}')]},
        {"role": "tool", "content": "Error: no such order", "name": "get", "tool_call_id": "call-1"},
    )
    run = only_run("tau-bench", file)
    prompt, called, answered = steps(run)
    assert run.trajectory_id == "tau-bench/gpt-4o-retail/7/2"
    assert [one.agent for one in steps(run)] == ["system", "retail-agent", "environment"]
    assert [one.kind for one in steps(run)] == [StepKind.MESSAGE, StepKind.TOOL_CALL, StepKind.TOOL_RESULT]
    assert called.tool is not None
    assert answered.tool is not None
    assert (called.content, called.tool.arguments) == ("", {"id": None})
    assert (called.tool.call_id, called.tool.name) == (answered.tool.call_id, answered.tool.name)
    assert (prompt.error_type, answered.error_type) == (None, "tool_error")
    assert prompt.task == "cancel it"


def test_arguments_that_are_no_json_stay_a_string_and_further_calls_stay_with_the_step(tmp_path: Path) -> None:
    calls = [call("get", "{broken"), call("put", "{}", 2)]
    file = tau_bench_file(tmp_path / "a.json", {"role": "assistant", "content": "both", "tool_calls": calls})
    (both,) = steps(only_run("tau-bench", file))
    assert both.tool is not None
    assert both.tool.arguments == "{broken"
    assert both.attributes == {"further_tool_calls": [{"name": "put", "call_id": "call-2", "arguments": {}}]}


@pytest.mark.parametrize(("reward", "result"), [(1.0, Result.SUCCESS), (0.0, Result.FAILURE), (0.5, Result.FAILURE)])
def test_the_reward_is_an_outcome_event_that_ends_the_run(tmp_path: Path, reward: float, result: Result) -> None:
    message = {"role": "user", "content": "hi"}
    event = last_outcome(only_run("tau-bench", tau_bench_file(tmp_path / "a.json", message, reward=reward)))
    assert (event.outcome.result, event.outcome.score, event.outcome.evaluator) == (result, reward, "tau-bench")
    assert (event.final, event.step_count) == (True, 1)
    assert json.loads(event.outcome.ground_truth or "") == [{"name": "cancel", "kwargs": {"id": "R1"}}]


# ---- a stranger's own lines ----------------------------------------------------------------------------------------


def test_the_least_lines_become_a_whole_run(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "shop.jsonl",
        {"trajectory_id": "run-1", "agent": "planner", "content": "first"},
        {"trajectory_id": "run-1", "agent": "coder", "content": "zweite ✓"},
        {"trajectory_id": "run-1", "kind": "outcome", "outcome": {"result": "failure"}},
    )
    run = only_run("jsonl", path)
    first, second = steps(run)
    assert (first.system, first.step_index, first.started_at) == ("shop", 0, BASE)
    assert (second.step_index, second.content) == (1, "zweite ✓")
    assert first.started_at < second.started_at < last_outcome(run).at
    assert (last_outcome(run).final, last_outcome(run).step_count) == (True, 2)
    assert all(isinstance(read_line(own.raw), Line) for own in run.events)


def test_the_same_file_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    twin = {"trajectory_id": "run-1", "agent": "a", "content": "again"}
    path = lines(tmp_path / "x.jsonl", twin, twin)
    recording = Recording("jsonl", path)
    assert list(recording) == list(recording)
    (run,) = recording
    assert len({event.event_id for event in events(run)}) == 2


def test_without_a_base_the_time_of_the_file_counts_but_never_one_before_2000(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"trajectory_id": "r", "agent": "a"})
    for modified, year in ((1_700_000_000, 2023), (86_400, 2000)):
        os.utime(path, (modified, modified))
        (run,) = load("jsonl", path)
        assert steps(run)[0].started_at.year == year


def test_interleaved_trajectories_are_taken_apart(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "x.jsonl",
        *({"trajectory_id": f"run-{number % 3}", "agent": "a", "content": str(number)} for number in range(9)),
    )
    found = list(load("jsonl", path, BASE))
    assert [run.trajectory_id for run in found] == ["run-0", "run-1", "run-2"]
    assert [event.content for event in steps(found[1])] == ["1", "4", "7"]
    assert [event.step_index for event in steps(found[1])] == [0, 1, 2]


def test_a_line_that_is_an_event_already_is_sent_byte_for_byte(tmp_path: Path) -> None:
    whole = [raw(step("t1", 0)), b'{ "content":"spaced" , ' + raw(step("t1", 1, content=""))[1:], raw(outcome_event())]
    run = only_run("jsonl", lines(tmp_path / "x.jsonl", *whole))
    assert [own.raw for own in run.events] == whole
    assert len(events(run)) == 3


def test_what_a_line_says_is_never_changed(tmp_path: Path) -> None:
    said = {"trajectory_id": "r", "agent": "a", "system": "mine", "step_index": 5, "key_source": "session_id"}
    (event,) = steps(only_run("jsonl", lines(tmp_path / "x.jsonl", said)))
    assert (event.system, event.step_index, event.key_source) == ("mine", 5, KeySource.SESSION_ID)


def test_steps_are_numbered_only_if_none_of_their_run_is(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "x.jsonl",
        {"trajectory_id": "r", "agent": "a", "step_index": 3},
        {"trajectory_id": "r", "agent": "a"},
        {"trajectory_id": "s", "agent": "a"},
    )
    numbered = {run.trajectory_id: [event.step_index for event in steps(run)] for run in load("jsonl", path)}
    assert numbered == {"r": [3, None], "s": [0]}


def test_without_an_outcome_the_last_step_ends_the_run(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", *({"trajectory_id": "r", "agent": "a"} for _ in range(3)))
    assert [event.final for event in steps(only_run("jsonl", path))] == [False, False, True]


def test_an_end_that_a_line_names_stands_alone(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "x.jsonl",
        {"trajectory_id": "r", "agent": "a", "final": True},
        {"trajectory_id": "r", "kind": "outcome", "outcome": {"result": "success"}},
    )
    assert [event.final for event in events(only_run("jsonl", path))] == [True, False]


@pytest.mark.parametrize(
    "bad",
    [
        b'{"trajectory_id": "r", "agent": "a", "colour": "red"}',
        b'{"trajectory_id": "r", "agent": 7}',
        b'{"trajectory_id": "r", "agent": "a", "content": "1", "content": "2"}',
        b'{"trajectory_id": "r", "agent": "a", "content": "\\ud800"}',
        b'{"trajectory_id": "r", "agent": "a", "attributes": {"n": NaN}}',
        b'{"trajectory_id": 7, "agent": "a"}',
        b'{"trajectory_id": "\\ud800", "agent": "a"}',
        b'{"agent": "nobody"}',
        b'["no", "object"]',
        b"not json",
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_is_sent_as_it_is_and_takes_no_number(tmp_path: Path, bad: bytes) -> None:
    good = {"trajectory_id": "r", "agent": "a"}
    found = list(load("jsonl", lines(tmp_path / "x.jsonl", good, bad, good), BASE))
    sent = [own for run in found for own in run.events]
    assert [own.raw for own in sent if own.event is None] == [bad]
    indices = [own.event.step_index for own in sent if isinstance(own.event, StepEvent)]
    assert indices == [0, 1]


def test_blank_lines_and_a_byte_order_mark_are_nothing(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", b"\xef\xbb\xbf" + b'{"trajectory_id": "r", "agent": "a"}\r', b"", b"  ")
    assert len(events(only_run("jsonl", path))) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=30), OBJECTS.map(lambda one: json.dumps(one).encode())), max_size=12))
def test_every_line_that_is_not_blank_is_sent_once_whatever_it_holds(tmp_path: Path, found: list[bytes]) -> None:
    anchor = b'{"trajectory_id": "anchor", "agent": "a"}'
    path = lines(tmp_path / "x.jsonl", anchor, *found)
    wanted = [line for line in path.read_bytes().split(b"\n") if line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r")]
    sent = [(run, own) for run in load("jsonl", path, BASE) for own in run.events]
    assert len(sent) == len(wanted)
    for run, own in sent:
        line = read_line(own.raw)
        assert (line.event if isinstance(line, Line) else None) == own.event
        assert own.event is None or own.event.trajectory_id == run.trajectory_id


def test_a_folder_is_no_file_of_lines(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder"):
        list(load("jsonl", tmp_path))


# ---- what can't be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jsonl", "who-and-when", "tau-bench"])
def test_a_missing_and_an_empty_file_are_named(tmp_path: Path, kind: Kind) -> None:
    missing, empty = tmp_path / "missing.json", tmp_path / "empty.json"
    empty.touch()
    with pytest.raises(SettingsError, match=r"nothing at .*missing\.json"):
        list(load(kind, missing))
    with pytest.raises(SettingsError, match=r"empty\.json' is empty"):
        list(load(kind, empty))


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("jsonl", "a,b\n1,2\n", "no line of it names a trajectory"),
        ("who-and-when", "[]", "not a Who&When file"),
        ("who-and-when", '{"question": "?"}', "not a Who&When file.*question_ID"),
        ("who-and-when", "{", "not a Who&When file"),
        ("tau-bench", "{}", "not a tau-bench file"),
        ("tau-bench", "[]", "the array is empty"),
        ("tau-bench", '[{"task_id": 1}]', "not a tau-bench file.*0.trial"),
    ],
)
def test_a_file_of_another_form_is_named_with_what_was_expected(
    tmp_path: Path, kind: Kind, content: str, message: str
) -> None:
    file = tmp_path / "some.json"
    file.write_text(content)
    with pytest.raises(SettingsError, match=rf"some\.json.*{message}"):
        list(load(kind, file))


def test_a_history_without_a_step_and_a_step_that_is_no_event_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="its history has no step"):
        list(load("who-and-when", who_and_when_file(tmp_path / "1.json", [])))
    nameless = [{"role": "", "content": "?"}]
    with pytest.raises(SettingsError, match="can't be sent as step events"):
        list(load("who-and-when", who_and_when_file(tmp_path / "1.json", nameless)))
    toolless = {"role": "tool", "content": "x", "name": "a\nb"}
    with pytest.raises(SettingsError, match="can't be sent as step events"):
        list(load("tau-bench", tau_bench_file(tmp_path / "2.json", toolless)))


def test_a_folder_without_json_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no \.json file"):
        list(load("who-and-when", tmp_path))
    with pytest.raises(SettingsError, match=r"holds no \.json file"):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.jsonl", "{}", "jsonl"),
        ("a.NDJSON", "{}", "jsonl"),
        ("a.json", '{"history": []}', "who-and-when"),
        ("a.json", "[]", "tau-bench"),
    ],
)
def test_the_form_is_told_by_the_name_and_by_what_the_file_holds(
    tmp_path: Path, name: str, content: str, kind: Kind
) -> None:
    (tmp_path / name).write_text(content)
    assert detect(tmp_path / name) == kind


@pytest.mark.parametrize(("name", "content"), [("a.csv", "a"), ("a.json", "{}"), ("a.json", "nope"), ("a.json", "3")])
def test_a_form_nobody_knows_is_an_error_that_lists_the_known_ones(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError, match=r"a\.(csv|json).*trajectory_id.*Who&When.*tau-bench"):
        detect(tmp_path / name)


def test_a_tau_bench_file_of_no_known_domain_has_a_plain_agent(tmp_path: Path) -> None:
    (run,) = tau_bench.runs(tau_bench_file(tmp_path / "x.json", {"role": "assistant", "content": "hi"}), BASE)
    assert (steps(run)[0].agent, steps(run)[0].system) == ("agent", "tau-bench")
