from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import (
    DeadLetter,
    DeadLetterReason,
    Evidence,
    Label,
    LabelSource,
    PipelineEvent,
    PipelineEventKind,
    Result,
    StepKind,
    ToolUse,
    Usage,
    VerdictPurpose,
)
from streams import tables
from streams.rows import (
    LAST_VERSION,
    Cell,
    Place,
    Row,
    dead_letter_row,
    label_row,
    milliseconds,
    outcome_row,
    pipeline_event_row,
    step_rows,
    trajectory_row,
    verdict_row,
)
from streams.tables import Table
from tests.factories import START, outcome, outcome_event, step, trajectory, verdict

PLACE = Place(partition=3, offset=41, timestamp_ms=1_772_366_400_123)


def named(table: Table, row: Row) -> dict[str, Cell]:
    return {name: cell for (name, _), cell in zip(table.columns, row, strict=True)}


def label() -> Label:
    return Label(
        label_id="l1",
        trajectory_id="t1",
        agent="a",
        step_index=2,
        source=LabelSource.HUMAN,
        annotator="someone",
        labelled_at=START,
    )


def letter(**fields: object) -> DeadLetter:
    of = DeadLetter(
        topic="step-events",
        partition=1,
        offset=7,
        line=2,
        reason=DeadLetterReason.NOT_JSON,
        message="no",
        stage="assembler",
        key=b"k",
        value=b"\xff{",
        at=START,
    )
    return of.model_copy(update=fields)


def report() -> PipelineEvent:
    kind = PipelineEventKind.MEMORY_CLOSED
    return PipelineEvent(
        pipeline_event_id="p1", kind=kind, topic="step-events", partition=0, detail={"a": [1]}, at=START
    )


def test_every_row_has_a_cell_for_each_column_of_its_table() -> None:
    of = trajectory()
    made = {
        tables.TRAJECTORIES: trajectory_row(of, PLACE),
        tables.STEPS: step_rows(of)[0],
        tables.OUTCOMES: outcome_row(outcome_event(), PLACE),
        tables.VERDICTS: verdict_row(verdict(), PLACE),
        tables.STANDING_VERDICTS: verdict_row(verdict(), PLACE),
        tables.LABELS: label_row(label(), PLACE),
        tables.DEAD_LETTERS: dead_letter_row(letter(), PLACE),
        tables.PIPELINE_EVENTS: pipeline_event_row(report(), PLACE),
    }
    assert set(made) == set(tables.TABLES)
    for table, row in made.items():
        assert len(named(table, row)) == len(table.columns)


def test_a_trajectory_keeps_what_it_says_of_itself() -> None:
    of = trajectory(
        revision=4,
        gaps=(1, 5),
        gap_count=2,
        truncations=("e1",),
        outcome=outcome(score=0.25, reason="late"),
        task="buy",
    )
    row = named(tables.TRAJECTORIES, trajectory_row(of, PLACE))
    assert row["trajectory_id"] == "t1"
    assert row["opened_at"] == milliseconds(START)
    assert (row["result"], row["score"], row["outcome_reason"]) == ("failure", 0.25, "late")
    assert (row["gaps"], row["gap_count"], row["truncations"]) == ((1, 5), 2, ("e1",))
    assert (row["step_count"], row["task"], row["close_reason"]) == (3, "buy", "completed")
    assert (row["record_partition"], row["record_offset"], row["recorded_at"]) == PLACE


def test_a_later_revision_has_a_higher_version() -> None:
    first, second = trajectory(revision=1), trajectory(revision=2)
    for row in (trajectory_row, lambda of, _: step_rows(of)[0]):
        assert named_version(row(first, PLACE)) == 1
        assert named_version(row(second, PLACE)) == 2


def named_version(row: Row) -> Cell:
    return row[-1]


def test_a_step_keeps_everything_and_its_microseconds() -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    one = step(
        kind=StepKind.TOOL_CALL,
        parent_id="p",
        input="in",
        tool=ToolUse(name="search", call_id="c", arguments={"q": "ä"}, result=[1, None], error="timeout"),
        error_type="Timeout",
        usage=Usage(model="m", input_tokens=3, output_tokens=4),
        started_at=at,
        ended_at=at + timedelta(microseconds=1),
        final=True,
        truncated=True,
        outcome=outcome(Result.SUCCESS, ground_truth="42"),
        attributes={"k": {"n": 1.5}},
    )
    row = named(tables.STEPS, step_rows(trajectory([one], revision=2))[0])
    assert (row["position"], row["revision"], row["kind"]) == (0, 2, "tool_call")
    assert (row["tool_name"], row["tool_call_id"], row["tool_error"]) == ("search", "c", "timeout")
    assert (row["tool_arguments"], row["tool_result"]) == ('{"q":"ä"}', "[1,null]")
    assert (row["model"], row["input_tokens"], row["output_tokens"]) == ("m", 3, 4)
    assert row["started_at"] == 1_772_366_400_123_456
    assert row["ended_at"] == 1_772_366_400_123_457
    assert (row["final"], row["truncated"]) == (True, True)
    assert (row["result"], row["ground_truth"], row["attributes"]) == ("success", "42", '{"k":{"n":1.5}}')


def test_a_bare_step_has_nulls_and_an_empty_object() -> None:
    row = named(tables.STEPS, step_rows(trajectory([step()]))[0])
    for name in ("task", "input", "tool_name", "tool_arguments", "tool_result", "model", "ended_at", "result", "score"):
        assert row[name] is None
    assert row["attributes"] == "{}"


def test_a_position_is_the_place_in_the_revision_and_not_the_senders_index() -> None:
    of = trajectory([step(index=5), step(index=2)])
    assert [named(tables.STEPS, row)["position"] for row in step_rows(of)] == [0, 1]


def test_of_verdicts_the_lowest_offset_has_the_highest_version() -> None:
    versions = [named_version(verdict_row(verdict(), PLACE._replace(offset=offset))) for offset in (0, 1, 2**62)]
    assert versions == [LAST_VERSION, LAST_VERSION - 1, LAST_VERSION - 2**62]


def test_a_verdict_keeps_its_lists_and_a_seed_of_any_size() -> None:
    of = verdict(
        evidence=(Evidence(step_index=1, event_id="e", quote='"'),),
        failure_path=(1, 2),
        seeds=(2**80, -1),
        purpose=VerdictPurpose.SHADOW,
    )
    row = named(tables.VERDICTS, verdict_row(of, PLACE))
    assert row["evidence"] == '[{"step_index":1,"event_id":"e","quote":"\\""}]'
    assert (row["alternatives"], row["failure_path"], row["purpose"]) == ("[]", (1, 2), "shadow")
    assert row["seeds"] == (str(2**80), "-1")


def test_a_dead_letter_keeps_its_bytes_and_both_addresses() -> None:
    row = named(tables.DEAD_LETTERS, dead_letter_row(letter(), PLACE))
    assert (row["topic"], row["partition"], row["offset"], row["line"]) == ("step-events", 1, 7, 2)
    assert (row["key"], row["value"], row["record_offset"]) == (b"k", b"\xff{", 41)


@pytest.mark.parametrize("row", [label_row(label(), PLACE), dead_letter_row(letter(), PLACE)])
def test_where_the_latest_record_stands_its_time_is_the_version(row: Row) -> None:
    assert row[-2:] == (PLACE.timestamp_ms, PLACE.timestamp_ms)


@settings(max_examples=300)
@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_milliseconds_are_cut_off_and_never_rounded(time: datetime) -> None:
    back = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds(time))
    assert timedelta() <= time - back < timedelta(milliseconds=1)
