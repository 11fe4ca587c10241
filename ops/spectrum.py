"""`agentracer spectrum TASK_ID`: the runs of one task that failed beside those that passed; no model is asked.

Rules: a run failed where it was routed as a failure or its outcome says so, and passed where its outcome is a success
that was not; all others are left out, and counted; runs of several systems are not compared; too few say nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops import query
from ops.plain import cell
from ops.query_runs import TaskStep, task_steps
from schemas import CloseReason, KeySource, StepEvent, StepKind, ToolUse, Trajectory
from schemas.errors import AgentracerError, SettingsError
from tracer.methods.spectrum import LEAST_FAILED, LEAST_PASSED, Run, Spectrum, Suspicion, spectrum_of

ROWS_SHOWN = 20


class Task(NamedTuple):
    """Which runs are compared."""

    task_id: str
    system: str | None = None
    since: datetime | None = None
    limit: int = 1_000


class Least(NamedTuple):
    """How many runs it takes to say anything."""

    failed: int = LEAST_FAILED
    passed: int = LEAST_PASSED


ENOUGH = Least()


def least(failed: int | None, passed: int | None) -> Least:
    """Return what was asked for, else what the method has."""
    return Least(LEAST_FAILED if failed is None else failed, LEAST_PASSED if passed is None else passed)


@dataclass(frozen=True)
class Comparison:
    """What came of it."""

    task_id: str
    system: str
    failed: int
    passed: int
    left_out: int
    """Runs whose outcome is not known."""
    least: Least
    spectrum: Spectrum | None
    """None: too few runs."""

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine: all agents and actions, the most suspicious first."""
        found = self.spectrum
        return {
            "task_id": self.task_id,
            "system": self.system,
            "failed": self.failed,
            "passed": self.passed,
            "left_out": self.left_out,
            "least_failed": self.least.failed,
            "least_passed": self.least.passed,
            "abstained": found is None,
            "agents": [_as_json(one) for one in found.agents] if found else [],
            "actions": [_as_json(one) for one in found.actions] if found else [],
        }

    def view(self) -> RenderableType:
        """Return it for a person."""
        if self.spectrum is None:
            wanted = f"{self.least.failed} failed and {self.least.passed} passed"
            return cell(f"{self._counted()}; too few to tell: it takes {wanted}")
        agents, actions = _table("agent"), _table("agent", "kind", "tool", "error")
        for one in self.spectrum.agents[:ROWS_SHOWN]:
            agents.add_row(cell(one.agent), *_figures(one))
        for one in self.spectrum.actions[:ROWS_SHOWN]:
            done = one.action
            words = (done.kind, done.tool or "-", done.error or "-") if done else ()
            actions.add_row(cell(one.agent), *map(cell, words), *_figures(one))
        parts: list[RenderableType] = [cell(self._counted()), agents, actions]
        more = len(self.spectrum.actions) - ROWS_SHOWN
        return Group(*parts, *([cell(f"and {more:,} more actions; --json has them all")] if more > 0 else []))

    def _counted(self) -> str:
        others = f" ({self.left_out:,} of unknown outcome left out)" if self.left_out else ""
        counts = f"{self.failed:,} failed and {self.passed:,} passed runs"
        return f"task {self.task_id} of system {self.system}: {counts}{others}"


def compared(clickhouse: str, task: Task, fewest: Least = ENOUGH) -> Comparison:
    """Compare the stored runs of a task; raises where there are none, or they are of several systems."""
    with query.connect(clickhouse, within_s=3.0) as client:
        steps = task_steps(client, task.task_id, since=task.since, system=task.system, limit=task.limit)
    if not steps:
        of = f" of system {task.system!r}" if task.system else ""
        raise AgentracerError(
            f"the store has no steps of a run of task {task.task_id!r}{of}; give a `task_id` that was sent"
        )
    owners = sorted({(one.tenant, one.system) for one in steps})
    if len(owners) > 1:
        raise SettingsError(f"runs of task {task.task_id!r} are of {_named(owners)}; name one system with --system")
    return comparison(task.task_id, steps, fewest)


def comparison(task_id: str, steps: Sequence[TaskStep], fewest: Least = ENOUGH) -> Comparison:
    """Compare runs of one system, given by their steps, those of one run one after the other."""
    runs = [tuple(own) for _, own in groupby(steps, key=lambda one: (one.trajectory_id, one.opened_at))]
    known = [Run(_trajectory(own), own[0].is_failed) for own in runs if own[0].is_failed or own[0].is_passed]
    failed = sum(one.is_failed for one in known)
    return Comparison(
        task_id=task_id,
        system=steps[0].system,
        failed=failed,
        passed=len(known) - failed,
        left_out=len(runs) - len(known),
        least=fewest,
        spectrum=spectrum_of(known, least_failed=fewest.failed, least_passed=fewest.passed),
    )


def _named(owners: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{system!r} (tenant {tenant!r})" for tenant, system in owners)


def _trajectory(steps: Sequence[TaskStep]) -> Trajectory:
    """Return a run with what is compared, and no text."""
    first = steps[0]
    return Trajectory(
        trajectory_id=first.trajectory_id,
        opened_at=first.opened_at,
        revision=1,
        key_source=KeySource.RUN_ID,
        tenant=first.tenant,
        system=first.system,
        close_reason=CloseReason.COMPLETED,
        closed_at=first.opened_at,
        steps=tuple(map(_step, steps)),
    )


def _step(of: TaskStep) -> StepEvent:
    tool = ToolUse(name=of.tool_name, error="it failed" if of.has_tool_error else None) if of.tool_name else None
    return StepEvent(
        event_id=of.event_id,
        trajectory_id=of.trajectory_id,
        system=of.system,
        agent=of.agent,
        kind=StepKind(of.kind),
        tool=tool,
        error_type=of.error_type,
        started_at=of.opened_at,
    )


def _as_json(of: Suspicion) -> dict[str, Any]:
    action = {} if of.action is None else {"kind": of.action.kind, "tool": of.action.tool, "error": of.action.error}
    return {"agent": of.agent, **action, "suspiciousness": of.score, "failed": of.failed, "passed": of.passed}


def _table(*names: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for name in ("suspiciousness", "failed", "passed"):
        table.add_column(name, justify="right")
    return table


def _figures(of: Suspicion) -> tuple[Text, ...]:
    return tuple(map(cell, (f"{of.score:.3f}", f"{of.failed:,}", f"{of.passed:,}")))
