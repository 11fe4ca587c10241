"""Recorded runs and human labels from the Who&When data set (184 failed runs in two halves).

Rules: a half is told by its form: agents are in `name` (algorithm-generated) or in `role` (hand-crafted, where
`Orchestrator (thought)` is the agent `Orchestrator`); steps are the history, in order, with equal content; the
annotators' findings (`mistake_*`) are in the labels and never in an event.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from ops.recorded.files import json_files, read_json, recorded_at, unsendable
from ops.recorded.run import RecordedRun, recorded
from schemas import Label, LabelSource, Outcome, Result, StepEvent
from schemas.errors import SettingsError

ANNOTATOR = "who-and-when"
EXPECTED = "a Who&When file (an object with question, question_ID, ground_truth and history)"
_STEP_TIME = timedelta(seconds=1)


class _Entry(BaseModel):
    content: str
    role: str
    name: str | None = None

    @property
    def agent(self) -> str:
        return self.name or self.role.split(" (", 1)[0]


class _File(BaseModel):
    question_ID: str  # noqa: N815 - the data set's own spelling
    question: str
    ground_truth: str
    history: list[_Entry]
    is_correct: bool | None = None
    is_corrected: bool | None = None
    mistake_agent: str | None = None
    mistake_step: str | None = None
    mistake_reason: str | None = None

    @property
    def half(self) -> str:
        return "algorithm_generated" if any(entry.name for entry in self.history) else "hand_crafted"

    @property
    def result(self) -> Result:
        flag = self.is_corrected if self.is_correct is None else self.is_correct
        return {True: Result.SUCCESS, False: Result.FAILURE, None: Result.UNKNOWN}[flag]


_FORM = TypeAdapter(_File)


def runs(path: Path, base: datetime | None = None) -> Iterator[RecordedRun]:
    """Read a file, one half, or the folder above both; the first step starts at `base` (else the file's time)."""
    for file, content in _read(path):
        trajectory_id = _trajectory_id(file, content)
        try:
            steps = tuple(map(recorded, _steps(trajectory_id, content, base or recorded_at(file))))
        except ValidationError as error:
            raise unsendable(file, trajectory_id, error) from error
        yield RecordedRun(trajectory_id, steps)


def labels(path: Path, labelled_at: datetime | None = None) -> Iterator[Label]:
    """Read what the annotators found: the agent as they name it, the step as its 0-based position."""
    for file, content in _read(path):
        if content.mistake_agent is None or content.mistake_step is None:
            continue
        if not content.mistake_step.isdecimal() or int(content.mistake_step) >= len(content.history):
            raise SettingsError(f"{str(file)!r} labels step {content.mistake_step!r}, which its history doesn't have")
        trajectory_id, step_index = _trajectory_id(file, content), int(content.mistake_step)
        yield Label(
            label_id=f"{trajectory_id}/{ANNOTATOR}",
            trajectory_id=trajectory_id,
            agent=content.mistake_agent,
            step_index=step_index,
            event_id=_event_id(step_index),
            source=LabelSource.HUMAN,
            annotator=ANNOTATOR,
            reason=content.mistake_reason,
            labelled_at=labelled_at or recorded_at(file),
        )


def _read(path: Path) -> Iterator[tuple[Path, _File]]:
    for file in json_files(path):
        content = read_json(file, _FORM, EXPECTED)
        if not content.history:
            raise SettingsError(f"{str(file)!r} is not {EXPECTED}: its history has no step")
        yield file, content


def _trajectory_id(file: Path, content: _File) -> str:
    return f"who-and-when/{content.half}/{file.stem}"


def _event_id(step_index: int) -> str:
    return f"step-{step_index}"


def _steps(trajectory_id: str, content: _File, base: datetime) -> Iterator[StepEvent]:
    last = len(content.history) - 1
    outcome = Outcome(result=content.result, evaluator=ANNOTATOR, ground_truth=content.ground_truth)
    for index, entry in enumerate(content.history):
        yield StepEvent(
            event_id=_event_id(index),
            trajectory_id=trajectory_id,
            task_id=content.question_ID,
            task=content.question if index == 0 else None,
            system=f"who-and-when-{content.half.replace('_', '-')}",
            agent=entry.agent,
            agent_role=entry.role,
            step_index=index,
            content=entry.content,
            started_at=base + index * _STEP_TIME,
            final=index == last,
            outcome=outcome if index == last else None,
        )
