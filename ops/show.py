"""What the command line shows a person: tables of verdicts, one trajectory with its decisive step marked.

Rules: what a fleet sent is shown as plain text; a step's content stays indented wherever it is folded, so that it can't
pass for another step.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ops.plain import cell, plain
from ops.query import DeadLetterLine, Run, StepLine, VerdictLine
from ops.run import Report

CONTENT_CHARACTERS = 400
_INDENT = (0, 0, 0, 8)


def verdict_table(lines: Iterable[VerdictLine]) -> Table:
    """Return standing verdicts as a table."""
    table = Table(title="Verdicts", title_justify="left")
    for name in ("decided", "trajectory", "system", "status", "agent", "step", "confidence", "reason"):
        table.add_column(name, overflow="fold", justify="right" if name in {"step", "confidence"} else "left")
    for one in lines:
        table.add_row(
            f"{one.decided_at:%m-%d %H:%M:%S}",
            cell(one.trajectory_id),
            cell(one.system),
            one.status,
            cell(one.agent or "-"),
            "-" if one.step_index is None else str(one.step_index),
            "-" if one.confidence is None else f"{one.confidence:.2f}",
            cell(one.reason),
        )
    return table


def run_view(run: Run, *, whole: bool = False) -> RenderableType:
    """Return a run: what it was, its steps with the decisive one marked, its verdict."""
    return Group(_head(run), *(_step(step, run.verdict, whole=whole) for step in run.steps), _verdict(run.verdict))


def _head(run: Run) -> Panel:
    of = run.trajectory
    result = f"{of.result or 'no outcome'}" + (f" (score {of.score:g})" if of.score is not None else "")
    lines = [
        f"system {of.system} · revision {of.revision} · {of.step_count} steps · closed as {of.close_reason}",
        f"outcome: {result}" + (f" - {of.outcome_reason}" if of.outcome_reason else ""),
        *([f"task: {of.task}"] if of.task else []),
        *([f"{of.gap_count} steps never came"] if of.gap_count else []),
    ]
    return Panel(cell("\n".join(lines)), title=cell(of.trajectory_id), title_align="left")


def _step(step: StepLine, verdict: VerdictLine | None, *, whole: bool) -> RenderableType:
    is_decisive = verdict is not None and verdict.event_id == step.event_id
    mark, style = ("▶", "bold red") if is_decisive else (" ", "")
    title = plain(f"{mark} {step.position:>4}  {step.agent} [{step.kind}]")
    head = Text(title, style=style or "bold", no_wrap=True, overflow="ellipsis")
    body = "\n".join(part for part in (step.content, _tool(step)) if part)
    if not whole and len(body) > CONTENT_CHARACTERS:
        body = f"{body[:CONTENT_CHARACTERS]} … ({len(body) - CONTENT_CHARACTERS} more characters; --whole shows them)"
    if step.error_type:
        body = f"{body}\nerror: {step.error_type}"
    return Group(head, Padding(Text(plain(body), style=style), _INDENT))


def _tool(step: StepLine) -> str:
    if step.tool_name is None:
        return ""
    parts = [f"{step.tool_name}({step.tool_arguments or ''})"]
    parts += [f"→ {step.tool_result}"] if step.tool_result else []
    parts += [f"! {step.tool_error}"] if step.tool_error else []
    return " ".join(parts)


def _verdict(verdict: VerdictLine | None) -> Panel:
    if verdict is None:
        return Panel("no verdict for this revision", title="verdict", title_align="left")
    named = "nobody" if verdict.agent is None else f"{verdict.agent} at step {verdict.step_index}"
    lines = [f"{verdict.status}: {named}", verdict.reason or "", f"by {verdict.tracer} {verdict.tracer_version}"]
    return Panel(cell("\n".join(line for line in lines if line)), title="verdict", title_align="left")


def as_json(line: VerdictLine) -> str:
    """Return a verdict as one line of JSON."""
    return json.dumps(line._asdict(), default=str)


def summary(of: Report) -> Table:
    """Return what came of a run, as two columns."""
    table = Table(show_header=False, box=None)
    for name, value in asdict(of).items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    return table


def dead_letter_table(lines: Iterable[DeadLetterLine]) -> Table:
    """Return dead letters as a table."""
    table = Table(title="Dead letters", title_justify="left")
    for name in ("address", "at", "reason", "bytes", "message"):
        table.add_column(name, overflow="fold", justify="right" if name == "bytes" else "left")
    for one in lines:
        table.add_row(cell(one.address), f"{one.at:%m-%d %H:%M:%S}", one.reason, str(one.length), cell(one.message))
    return table
