"""The Who&When data set: 184 failed runs in two halves, each with a person's finding.

Rules: a half is told by its form: agents are in `name` (algorithm-generated) or in `role` (hand-crafted, where
`Orchestrator (thought)` is the agent `Orchestrator`); the gold step is a 0-based string; in some files the gold agent
is not the one that speaks at the gold step, and both stand as they are; what shares a question id, in the same half or
in the other, is one task group.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.errors import SettingsError

from .build import About, Gold, Said, labelled
from .files import files_of, first_fault, parse, read_bytes
from .labelled import LabelledTrajectory, Origin, bare_name

ANNOTATOR = "who-and-when"
EXPECTED = "a Who&When file (an object with question, question_ID, ground_truth, history, mistake_agent, mistake_step)"


class _Entry(BaseModel):
    content: str
    role: str
    name: str | None = None

    @property
    def agent(self) -> str:
        return self.name or bare_name(self.role)


class _File(BaseModel):
    question_ID: str
    question: str
    ground_truth: str
    history: list[_Entry]
    mistake_agent: str
    mistake_step: str
    mistake_reason: str | None = None

    @property
    def half(self) -> str:
        return "algorithm_generated" if any(entry.name for entry in self.history) else "hand_crafted"


_FORM = TypeAdapter(_File)


def items(path: Path) -> Iterator[LabelledTrajectory]:
    """Read a file, one half, or the folder above both."""
    for file in files_of(path):
        yield _labelled(file, parse(read_bytes(file), _FORM, where=repr(str(file)), expected=EXPECTED))


def _labelled(file: Path, content: _File) -> LabelledTrajectory:
    step = content.mistake_step
    if not (step.isascii() and step.isdecimal() and int(step) < len(content.history)):
        raise SettingsError(f"{str(file)!r} labels step {step!r}, which its history doesn't have; mend mistake_step")
    said = [Said(entry.agent, entry.content, entry.role) for entry in content.history]
    gold = Gold(content.mistake_agent, int(step), content.mistake_reason)
    try:
        return labelled(_about(file, content), said, gold, ANNOTATOR)
    except ValidationError as error:
        raise SettingsError(f"{str(file)!r} can't be made a trajectory: {first_fault(error)}; mend it") from error


def _about(file: Path, content: _File) -> About:
    return About(
        trajectory_id=f"who-and-when/{content.half}/{file.stem}",
        system=f"who-and-when-{content.half.replace('_', '-')}",
        task_group=content.question_ID,
        task=content.question,
        ground_truth=content.ground_truth,
        origin=Origin.NATURAL,
        part=content.half,
    )
