"""Contracts become rows: plain functions, one for each table of streams/tables.py.

Rules: a row is a tuple in the order of its table's columns; times are integers, microseconds for steps and
milliseconds for everything else, counted from 1970 in UTC; free JSON is text; the last column is the version by
which ClickHouse picks the row that stands among those of the same identity (see the migrations).
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pydantic import JsonValue
from pydantic_core import to_json

from schemas import (
    DeadLetter,
    Label,
    Outcome,
    OutcomeEvent,
    PipelineEvent,
    StepEvent,
    ToolUse,
    Trajectory,
    Usage,
    Verdict,
)

Cell = str | bytes | int | float | tuple[int, ...] | tuple[str, ...] | None
Row = tuple[Cell, ...]

LAST_VERSION = 2**64 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND, _MILLISECOND = timedelta(microseconds=1), timedelta(milliseconds=1)


class Place(NamedTuple):
    """Where a record stands on its topic, and since when."""

    partition: int
    offset: int
    timestamp_ms: int

    def latest_stands(self) -> Row:
        """Return the last columns of a row of which the latest record stands."""
        return (*self, self.timestamp_ms)

    def first_stands(self) -> Row:
        """Return the last columns of a row of which the record with the lowest offset stands."""
        return (*self, LAST_VERSION - self.offset)


def trajectory_row(of: Trajectory, place: Place) -> Row:
    """Return the row of one revision."""
    return (
        of.trajectory_id,
        milliseconds(of.opened_at),
        of.revision,
        of.key_source.value,
        of.tenant,
        of.system,
        of.system_version,
        of.task_id,
        of.task,
        *_outcome(of.outcome),
        milliseconds(of.outcome_at) if of.outcome_at else None,
        of.close_reason.value,
        milliseconds(of.closed_at),
        len(of.steps),
        of.gaps,
        of.gap_count,
        of.truncations,
        of.routing.reason.value if of.routing else None,
        of.routing is not None and of.routing.over_budget,
        *place,
        of.revision,
    )


def step_rows(of: Trajectory) -> list[Row]:
    """Return the rows of a revision's steps, in order."""
    opened_at, revision = milliseconds(of.opened_at), of.revision
    return [_step_row(step, opened_at, revision, position) for position, step in enumerate(of.steps)]


def _step_row(step: StepEvent, opened_at: int, revision: int, position: int) -> Row:
    return (
        step.trajectory_id,
        opened_at,
        step.event_id,
        revision,
        position,
        step.key_source.value,
        step.tenant,
        step.task_id,
        step.task,
        step.system,
        step.system_version,
        step.agent,
        step.agent_version,
        step.agent_role,
        step.kind.value,
        step.step_index,
        step.parent_id,
        step.content,
        step.input,
        *_tool(step.tool),
        step.error_type,
        *_usage(step.usage),
        (step.started_at - _EPOCH) // _MICROSECOND,
        (step.ended_at - _EPOCH) // _MICROSECOND if step.ended_at else None,
        step.final,
        step.truncated,
        *_outcome(step.outcome),
        _json(step.attributes) if step.attributes else "{}",
        revision,
    )


def outcome_row(of: OutcomeEvent, place: Place) -> Row:
    """Return the row of an outcome that belongs to no published revision."""
    return (
        of.trajectory_id,
        of.event_id,
        of.tenant,
        of.task_id,
        of.task,
        *_outcome(of.outcome),
        milliseconds(of.at),
        of.final,
        of.step_count,
        *place.latest_stands(),
    )


def verdict_row(of: Verdict, place: Place) -> Row:
    """Return the row of a verdict, for both of its tables."""
    return (
        of.trajectory_id,
        milliseconds(of.opened_at),
        of.revision,
        of.purpose.value,
        of.tracer,
        of.tracer_version,
        of.verdict_id,
        of.tenant,
        of.system,
        of.system_version,
        of.task_id,
        of.route_reason.value if of.route_reason else None,
        of.status.value,
        of.agent,
        of.agent_version,
        of.step_index,
        of.event_id,
        of.reason,
        of.reason_source,
        to_json(of.evidence).decode(),
        of.confidence,
        to_json(of.alternatives).decode(),
        of.failure_path,
        of.failure_class.value,
        of.failure_class_version,
        of.prompt_version,
        tuple(map(str, of.seeds)),
        of.attempts,
        *(of.tokens.input, of.tokens.output, of.tokens.cached),
        of.queued_ms,
        of.traced_ms,
        milliseconds(of.decided_at),
        *place.first_stands(),
    )


def label_row(of: Label, place: Place) -> Row:
    """Return the row of a label."""
    return (
        of.label_id,
        of.trajectory_id,
        milliseconds(of.opened_at) if of.opened_at else None,
        of.agent,
        of.step_index,
        of.event_id,
        of.source.value,
        of.annotator,
        of.reason,
        milliseconds(of.labelled_at),
        *place.latest_stands(),
    )


def dead_letter_row(of: DeadLetter, place: Place) -> Row:
    """Return the row of a dead letter; its texts are bytes too, since key and value may be of any encoding."""
    return (
        of.topic,
        of.partition,
        of.offset,
        of.line,
        of.reason.value,
        of.message,
        of.stage,
        of.key,
        of.value,
        milliseconds(of.at),
        *place.latest_stands(),
    )


def pipeline_event_row(of: PipelineEvent, place: Place) -> Row:
    """Return the row of a report."""
    return (
        of.pipeline_event_id,
        of.kind.value,
        of.topic,
        of.partition,
        of.count,
        _json(of.detail),
        milliseconds(of.at),
        *place.latest_stands(),
    )


def _outcome(of: Outcome | None) -> Row:
    if of is None:
        return (None, None, None, None, None)
    return (of.result.value, of.score, of.evaluator, of.reason, of.ground_truth)


def _tool(of: ToolUse | None) -> Row:
    if of is None:
        return (None, None, None, None, None)
    return (of.name, of.call_id, _json(of.arguments), _json(of.result), of.error)


def _usage(of: Usage | None) -> Row:
    return (None, None, None) if of is None else (of.model, of.input_tokens, of.output_tokens)


def _json(value: JsonValue) -> str | None:
    return None if value is None else to_json(value).decode()


def milliseconds(time: datetime) -> int:
    """Return a time as whole milliseconds since 1970."""
    return (time - _EPOCH) // _MILLISECOND
