"""Turns a run into the step events that its fleet would send.

Rules: the events say what an observer sees, and nothing of where an agent went wrong; ids, times and token counts are
functions of the run and the start time, so the same run gives the same bytes.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from schemas import StepEvent, Usage

from .chance import stream
from .play import Run, system_of
from .system import Action

PROMPT_TOKENS = 160
"""What an agent's own instructions take."""
CHARACTERS_A_TOKEN = 4
MODEL = "simulated"
PEOPLE = frozenset({"customer", "warehouse"})
"""Who is no model, and costs no tokens."""


class Span(NamedTuple):
    """When a step began and ended."""

    start: datetime
    end: datetime


def step_events(
    run: Run, started_at: datetime, system_version: str, agent_versions: Mapping[str, str], tenant: str
) -> list[StepEvent]:
    """Return a run's events, the outcome with the last one; agents without a version have version 1."""
    roles, ids = system_of(run.system).agents, [f"{run.trajectory_id}-{n}" for n in range(len(run.actions))]
    rows = zip(run.actions, spans(run, started_at), usages(run), strict=True)
    return [
        StepEvent(
            event_id=ids[n],
            trajectory_id=run.trajectory_id,
            tenant=tenant,
            task_id=run.task.task_id,
            task=None if n else run.task.text,
            system=run.system,
            system_version=system_version,
            agent=action.agent,
            agent_version=agent_versions.get(action.agent, "1"),
            agent_role=roles[action.agent],
            kind=action.kind,
            step_index=n,
            parent_id=ids[n - 1] if n else None,
            content=action.content,
            tool=action.tool,
            error_type="ToolError" if action.tool and action.tool.error else None,
            usage=usage,
            started_at=span.start,
            ended_at=span.end,
            final=n == len(ids) - 1,
            outcome=run.outcome if n == len(ids) - 1 else None,
        )
        for n, (action, span, usage) in enumerate(rows)
    ]


def spans(run: Run, started_at: datetime) -> Iterable[Span]:
    """Return when each step was: some seconds each, one after the other."""
    rng, now = stream(run.trajectory_id, "clock"), started_at
    for _ in run.actions:
        start = now + timedelta(milliseconds=rng.randint(5, 400))
        now = start + timedelta(milliseconds=rng.randint(300, 6_000))
        yield Span(start, now)


def usages(run: Run) -> Iterable[Usage | None]:
    """Return what each step cost: an agent reads all that was said before it."""
    read = len(run.task.text)
    for action in run.actions:
        spent = Usage(model=MODEL, input_tokens=PROMPT_TOKENS + tokens(read), output_tokens=tokens(len(action.content)))
        yield None if action.agent in PEOPLE else spent
        read += seen(action)


def tokens(characters: int) -> int:
    """Return about how many tokens a text of that length has."""
    return -(-characters // CHARACTERS_A_TOKEN)


def seen(action: Action) -> int:
    """Return how many characters the others read of an action."""
    return len(action.content) + (len(action.tool.model_dump_json(exclude_none=True)) if action.tool else 0)
