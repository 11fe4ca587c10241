"""What a fleet sends: one step event for one action of one agent, and outcome events beside them.

Rules: both share the topic `step-events`, told apart by `kind`; `event_id` is the sender's own and the
deduplication key within its trajectory; the same id with the same bytes is a duplicate, with others a conflict.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from .fields import Attributes, Contract, Id, Index, Name, UtcTime
from .kinds import KeySource, Result, StepKind


class Outcome(Contract):
    """The task's result and who says so; `score` is the evaluator's own scale, higher is better."""

    result: Result
    score: float | None = None
    evaluator: Name | None = None
    reason: str | None = None
    ground_truth: str | None = None


class ToolUse(Contract):
    """A tool call, its result, or both; `call_id` joins them when they are two steps."""

    name: Id
    call_id: Name | None = None
    arguments: JsonValue = None
    result: JsonValue = None
    error: str | None = None


class Usage(Contract):
    """What the model call cost, in tokens."""

    model: Name | None = None
    input_tokens: Index | None = None
    output_tokens: Index | None = None


class StepEvent(Contract):
    """One action of one agent."""

    schema_version: Literal[1] = 1
    event_id: Id
    trajectory_id: Id
    key_source: KeySource = KeySource.RUN_ID
    tenant: Id = "default"
    task_id: Id | None = None
    task: str | None = None
    """The query's text; on the first step, or with the outcome."""
    system: Id
    system_version: Name | None = None
    agent: Id
    agent_version: Name | None = None
    agent_role: Name | None = None
    kind: StepKind = StepKind.MESSAGE
    step_index: Index | None = None
    """The producer's own sequence, from 0; without it the order is by parent, then time."""
    parent_id: Id | None = None
    """The event id of the step that caused this one."""
    content: str = ""
    input: str | None = None
    tool: ToolUse | None = None
    error_type: Name | None = None
    usage: Usage | None = None
    started_at: UtcTime
    ended_at: UtcTime | None = None
    final: bool = False
    """This is the sender's last step of the trajectory."""
    truncated: bool = False
    """The sender shortened the content."""
    outcome: Outcome | None = None
    """The result, when it is known with this step."""
    attributes: Attributes = Field(default_factory=dict)

    @property
    def time(self) -> datetime:
        """When the step was over, as far as it is known."""
        return self.ended_at or self.started_at


class OutcomeEvent(Contract):
    """The result of a trajectory, with its last step or any time later; the last one by `at` stands."""

    schema_version: Literal[1] = 1
    kind: Literal["outcome"]
    event_id: Id
    trajectory_id: Id
    tenant: Id = "default"
    task_id: Id | None = None
    task: str | None = None
    outcome: Outcome
    at: UtcTime
    final: bool = False
    """The run is over: no further steps are coming."""
    step_count: Index | None = None
    """How many steps the run had, so that an end is not taken before its steps are there."""

    @property
    def time(self) -> datetime:
        """When the outcome was decided."""
        return self.at


Event = StepEvent | OutcomeEvent
