"""What every contract keeps: frozen, strict, in UTC, and named in public."""

import ast
import importlib
import inspect
import pkgutil
import sys
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ValidationError

import schemas
from schemas import CloseReason, Outcome, PipelineEvent, PipelineEventKind, Result, StepEvent, errors
from schemas.fields import Contract
from tests.factories import START, outcome_event, step

INSIDE = {"schemas.health", "schemas.metrics"}
"""What the roles share among themselves, no part of the wire."""
FOLDER = Path(schemas.__file__).parent
MODULES = [importlib.import_module(f"schemas.{module.name}") for module in pkgutil.iter_modules([str(FOLDER)])]


def defined(module: ModuleType) -> list[type]:
    return [found for _, found in inspect.getmembers(module, inspect.isclass) if found.__module__ == module.__name__]


def test_the_public_names_are_sorted_constants_first() -> None:
    assert schemas.__all__ == sorted(schemas.__all__, key=lambda name: (not name.isupper(), name))
    assert len(set(schemas.__all__)) == len(schemas.__all__)


def test_the_public_names_are_complete() -> None:
    wire = [module for module in MODULES if module.__name__ not in INSIDE]
    ours = [found for module in wire for found in defined(module) if issubclass(found, (Contract, StrEnum))]
    names = {found.__name__ for found in ours if found is not Contract}
    assert len(names) > 20
    assert names <= set(schemas.__all__)
    assert all(hasattr(schemas, name) for name in schemas.__all__)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_a_module_imports_its_neighbours_relatively_and_else_only_pydantic(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Import)]
    froms = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    assert all(node.level in {0, 1} for node in froms)
    absolute = {alias.name for node in imports for alias in node.names}
    absolute |= {node.module or "" for node in froms if node.level == 0}
    assert {name.split(".")[0] for name in absolute} <= {*sys.stdlib_module_names, "pydantic"}


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        step().agent = "another"  # type: ignore[misc]


def test_nothing_is_coerced() -> None:
    with pytest.raises(ValidationError):
        step(step_index="1")
    with pytest.raises(ValidationError):
        step(content=b"text")


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        step(colour="red")


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_is_finite(score: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Outcome(result=Result.FAILURE, score=score)


@pytest.mark.parametrize("accepted", ["x", "x" * 256, "a b", "é☃", "\u0085", "/:#"])
def test_an_id_may_be(accepted: str) -> None:
    assert step(accepted, event_id=accepted).trajectory_id == accepted


@pytest.mark.parametrize("refused", ["", "x" * 257, "\n", "x\n", "a\0b", "\x1b[31m", "\x7f", "\ud800"])
def test_an_id_may_not_be(refused: str) -> None:
    with pytest.raises(ValidationError):
        step(event_id=refused)


def test_a_time_is_held_in_utc() -> None:
    east = datetime(2026, 3, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert step(started_at=east).started_at.tzinfo is UTC
    assert step(started_at=east).started_at == START


@pytest.mark.parametrize(
    "time",
    [
        datetime(2026, 3, 1),  # noqa: DTZ001
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
    ],
)
def test_a_time_without_offset_or_outside_utc_is_refused(time: datetime) -> None:
    with pytest.raises(ValidationError):
        step(started_at=time)


def test_the_time_of_a_step_is_its_end_where_it_is_known() -> None:
    assert step().time == START
    assert step(ended_at=START + timedelta(seconds=9)).time == START + timedelta(seconds=9)
    assert outcome_event().time == outcome_event().at


def test_attributes_of_one_event_are_not_anothers() -> None:
    one, other = step(), step()
    one.attributes["x"] = 1
    assert other.attributes == {}
    assert StepEvent.model_fields["attributes"].default_factory is not None


def test_the_limits_are_what_the_late_window_does_not_reopen() -> None:
    assert {reason for reason in CloseReason if reason.is_limit} == {
        CloseReason.TOO_LONG,
        CloseReason.TOO_OLD,
        CloseReason.MEMORY,
    }


def test_a_pipeline_event_counts_one_thing_unless_it_says_more() -> None:
    event = PipelineEvent(
        pipeline_event_id="p", kind=PipelineEventKind.CONTENT_LOST, topic="step-events", partition=0, at=START
    )
    assert (event.count, event.detail) == (1, {})


def test_every_branch_of_errors_has_an_exit_code_of_its_own() -> None:
    branches = [
        found
        for found in defined(errors)
        if issubclass(found, errors.AgentracerError)
        and (found is errors.AgentracerError or found.__base__ is errors.AgentracerError)
    ]
    codes = [found.exit_code for found in branches]
    assert len(branches) == 7
    assert len(set(codes)) == len(codes)
    assert 0 not in codes
