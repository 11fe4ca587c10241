"""Recorded runs of tau-bench: one JSON array of runs, each the messages between a user, an agent and its tools.

Rules: every message is a step with equal content (null is ""), the system's prompt is the first; a tool's answer is
a step of the agent `environment`; the reward comes as an outcome event behind the last step, as an evaluator sends
it; a call's arguments are parsed if they are JSON, else they stay a string.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from ops.recorded.files import json_files, read_json, recorded_at, unsendable
from ops.recorded.run import RecordedRun, recorded
from schemas import Event, Outcome, OutcomeEvent, Result, StepEvent, StepKind, ToolUse
from schemas.errors import SettingsError

EVALUATOR = "tau-bench"
ENVIRONMENT = "environment"
"""The agent of a tool's answer."""
EXPECTED = "a tau-bench file (an array of runs with task_id, trial, reward, info.task and traj)"
_DOMAINS = ("airline", "retail")
_STEP_TIME = timedelta(seconds=1)


class _Function(BaseModel):
    name: str
    arguments: str


class _Call(BaseModel):
    id: str
    function: _Function


class _Message(BaseModel):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[_Call] | None = None


class _Task(BaseModel):
    instruction: str
    actions: list[JsonValue]


class _Info(BaseModel):
    task: _Task


class _Run(BaseModel):
    task_id: int
    trial: int
    reward: float
    info: _Info
    traj: list[_Message]


class _Names(NamedTuple):
    """What a run's steps share, from the file's name and the run's numbers."""

    trajectory_id: str
    task_id: str
    system: str
    agent: str


_FORM = TypeAdapter(list[_Run])


def runs(path: Path, base: datetime | None = None) -> Iterator[RecordedRun]:
    """Read a file, or every file of a folder; a run's first step starts at `base` (else at the file's time)."""
    for file in json_files(path):
        found = read_json(file, _FORM, EXPECTED)
        if not found:
            raise SettingsError(f"{str(file)!r} is not {EXPECTED}: the array is empty")
        for run in found:
            names = _names(file, run)
            try:
                events = _events(names, run, base or recorded_at(file))
            except ValidationError as error:
                raise unsendable(file, names.trajectory_id, error) from error
            yield RecordedRun(names.trajectory_id, tuple(map(recorded, events)))


def _names(file: Path, run: _Run) -> _Names:
    domain = next((f"-{name}" for name in _DOMAINS if name in file.stem), "")
    return _Names(
        trajectory_id=f"tau-bench/{file.stem}/{run.task_id}/{run.trial}",
        task_id=f"tau-bench{domain}/{run.task_id}",
        system=f"tau-bench{domain}",
        agent=f"{domain}-agent".removeprefix("-"),
    )


def _events(names: _Names, run: _Run, base: datetime) -> list[Event]:
    return [*(_step(names, run, index, base) for index in range(len(run.traj))), _outcome(names, run, base)]


def _step(names: _Names, run: _Run, index: int, base: datetime) -> StepEvent:
    message = run.traj[index]
    # tau-bench has no flag for it: its tools answer an error with this word first.
    failed = message.role == "tool" and (message.content or "").startswith("Error")
    return StepEvent(
        event_id=f"step-{index}",
        trajectory_id=names.trajectory_id,
        task_id=names.task_id,
        task=run.info.task.instruction if index == 0 else None,
        system=names.system,
        agent={"assistant": names.agent, "tool": ENVIRONMENT}.get(message.role, message.role),
        agent_role=message.role,
        kind=_kind(message),
        step_index=index,
        content=message.content or "",
        tool=_tool(message),
        error_type="tool_error" if failed else None,
        started_at=base + index * _STEP_TIME,
        attributes=_further_calls(message),
    )


def _kind(message: _Message) -> StepKind:
    if message.tool_calls:
        return StepKind.TOOL_CALL
    return StepKind.TOOL_RESULT if message.role == "tool" else StepKind.MESSAGE


def _tool(message: _Message) -> ToolUse | None:
    if message.tool_calls:
        call = message.tool_calls[0]
        return ToolUse(name=call.function.name, call_id=call.id, arguments=_arguments(call))
    if message.role == "tool":
        return ToolUse(name=message.name or "tool", call_id=message.tool_call_id)
    return None


def _further_calls(message: _Message) -> dict[str, JsonValue]:
    """Return the calls beside the first, as attributes: a step has one tool."""
    further: list[JsonValue] = [
        {"name": call.function.name, "call_id": call.id, "arguments": _arguments(call)}
        for call in (message.tool_calls or [])[1:]
    ]
    return {"further_tool_calls": further} if further else {}


def _arguments(call: _Call) -> JsonValue:
    try:
        parsed: JsonValue = json.loads(call.function.arguments)
    except (ValueError, RecursionError):
        return call.function.arguments
    return parsed


def _outcome(names: _Names, run: _Run, base: datetime) -> OutcomeEvent:
    return OutcomeEvent(
        kind="outcome",
        event_id="outcome",
        trajectory_id=names.trajectory_id,
        task_id=names.task_id,
        outcome=Outcome(
            result=Result.SUCCESS if run.reward >= 1.0 else Result.FAILURE,
            score=run.reward,
            evaluator=EVALUATOR,
            ground_truth=json.dumps(run.info.task.actions, ensure_ascii=False),
        ),
        at=base + len(run.traj) * _STEP_TIME,
        final=True,
        step_count=len(run.traj),
    )
