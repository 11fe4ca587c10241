"""The committed examples are what they say: valid ones are read and kept, invalid ones get exactly their reason."""

import json
from pathlib import Path
from typing import TypeVar

import pytest

import schemas
from schemas import (
    TOPICS,
    DeadLetter,
    DeadLetterReason,
    LabelSource,
    PipelineEvent,
    PipelineEventKind,
    Topic,
    Trajectory,
    Verdict,
    VerdictPurpose,
    VerdictStatus,
)
from schemas.export import CONTRACTS, FOLDER
from schemas.fields import Contract
from schemas.wire import BadLine, Line, read_line, read_record

EXAMPLES = Path(schemas.__file__).parent / "examples"
INVALID = sorted((EXAMPLES / "step-events" / "invalid").iterdir())
MODELS: dict[str, type[Contract]] = {contract.__name__: contract for contract in CONTRACTS}
Model = TypeVar("Model", bound=Contract)
STEP_EVENTS = "StepEvent | OutcomeEvent"


def folder(topic: str) -> Path:
    return EXAMPLES / topic / "v1"


def examples(model: type[Model], topic: str) -> list[Model]:
    return [model.model_validate_json(path.read_bytes()) for path in sorted(folder(topic).iterdir())]


def lines(path: Path) -> list[Line | BadLine]:
    return read_record(path.read_bytes(), ndjson=path.suffix == ".ndjson")


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_every_topic_with_a_contract_has_examples(topic: Topic) -> None:
    ours = topic.model in {*MODELS, STEP_EVENTS}
    assert folder(topic.name).is_dir() is ours
    assert not ours or any(folder(topic.name).iterdir())


@pytest.mark.parametrize("topic", [topic for topic in TOPICS.values() if topic.model in MODELS], ids=lambda t: t.name)
def test_every_example_is_valid_and_round_trips(topic: Topic) -> None:
    model = MODELS[topic.model]
    for message in examples(model, topic.name):
        assert model.model_validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("path", sorted(folder("step-events").iterdir()), ids=lambda path: path.name)
def test_every_step_events_example_is_read_and_round_trips(path: Path) -> None:
    for line in lines(path):
        assert isinstance(line, Line), line
        again = read_line(line.event.model_dump_json().encode())
        assert isinstance(again, Line)
        assert again.event == line.event


def test_the_batch_holds_five_events_and_a_blank_line() -> None:
    batch = lines(folder("step-events") / "batch.ndjson")
    assert [line.number for line in batch] == [0, 1, 2, 3, 5]


def test_the_full_example_uses_every_property_of_the_committed_schema() -> None:
    committed = json.loads((FOLDER / "StepEvent.v1.json").read_text("utf-8"))
    full = json.loads((folder("step-events") / "full.json").read_bytes())
    assert set(full) == set(committed["properties"])
    for part, name in (("tool", "ToolUse"), ("usage", "Usage"), ("outcome", "Outcome")):
        assert set(full[part]) == set(committed["$defs"][name]["properties"])


def test_the_minimal_example_has_only_what_the_committed_schema_requires() -> None:
    committed = json.loads((FOLDER / "StepEvent.v1.json").read_text("utf-8"))
    minimal = json.loads((folder("step-events") / "minimal.json").read_bytes())
    assert set(minimal) == set(committed["required"])


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.name)
def test_every_invalid_example_gets_exactly_its_reason(path: Path) -> None:
    found = lines(path)
    bad = [line for line in found if isinstance(line, BadLine)]
    assert [line.reason for line in bad] == [DeadLetterReason(path.name.partition("-")[0])]
    assert bad[0].message
    assert bad[0].raw == (path.read_bytes() if len(found) == 1 else path.read_bytes().split(b"\n")[bad[0].number])


def test_one_bad_line_of_a_hundred_costs_only_itself() -> None:
    batches = [path for path in INVALID if path.suffix == ".ndjson"]
    assert len(batches) >= 3
    for path in batches:
        good = [line for line in lines(path) if isinstance(line, Line)]
        assert len(good) == 99, path.name
        assert len({line.event.event_id for line in good}) == 99


def test_the_invalid_examples_show_every_reason_that_the_wire_gives() -> None:
    given = {DeadLetterReason(path.name.partition("-")[0]) for path in INVALID}
    reasons = DeadLetterReason
    assert given == {
        reasons.EMPTY,
        reasons.NOT_UTF8,
        reasons.NOT_JSON,
        reasons.DUPLICATE_KEY,
        reasons.UNKNOWN_VERSION,
        reasons.INVALID,
    }


def test_the_examples_show_every_status_purpose_source_and_kind() -> None:
    verdicts = examples(Verdict, "verdicts")
    assert {verdict.status for verdict in verdicts} == set(VerdictStatus)
    assert {verdict.purpose for verdict in verdicts} == set(VerdictPurpose)
    assert {label.source for label in examples(schemas.Label, "labels")} == set(LabelSource)
    assert {event.kind for event in examples(PipelineEvent, "pipeline-events")} == set(PipelineEventKind)
    assert {request.cause for request in examples(schemas.RetrainRequest, "retrain-requests")} == {
        "labels",
        "clock",
        "person",
    }


def test_only_failed_trajectories_are_routed() -> None:
    assert all(trajectory.routing for trajectory in examples(Trajectory, "failed-trajectories"))
    assert not any(trajectory.routing for trajectory in examples(Trajectory, "trajectories"))


def test_what_a_verdict_names_and_quotes_stands_in_its_trajectory() -> None:
    (traced,) = (
        one
        for one in examples(Trajectory, "failed-trajectories")
        if one.trajectory_id == "run-7f3a" and one.revision == 1
    )
    named = [verdict for verdict in examples(Verdict, "verdicts") if verdict.step_index is not None]
    assert len(named) >= 3
    for verdict in named:
        assert verdict.step_index is not None
        step = traced.steps[verdict.step_index]
        assert (step.agent, step.event_id) == (verdict.agent, verdict.event_id)
        for evidence in verdict.evidence:
            assert evidence.quote in traced.steps[evidence.step_index].content


def test_a_dead_letter_of_the_wire_is_refused_again_for_the_same_reason() -> None:
    letters = [letter for letter in examples(DeadLetter, "dead-letters") if letter.stage == "assemble"]
    again = [read_record(letter.value)[0] for letter in letters if letter.reason is not DeadLetterReason.CONFLICT]
    assert len(again) >= 4
    assert [line.reason for line in again if isinstance(line, BadLine)] == [
        letter.reason for letter in letters if letter.reason is not DeadLetterReason.CONFLICT
    ]
