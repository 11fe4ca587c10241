"""A closed trajectory becomes the bytes of one revision: ordered, its header filled, its routing decided.

Rules: steps are joined as the bytes they came in, never parsed and written again; the header is that of the first
step in order, the task the first that is named; a revision after the first starts from the published one before.
What the header repeats of a long text is its beginning, since the whole, which stands in the step or on `outcomes`,
would be there twice and might not fit the topic.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from schemas import CloseReason, Outcome, StepEvent, Trajectory
from schemas.trajectory import GAPS_NAMED
from schemas.wire import Line, read_line

from .held import ERROR, TASK, TRUNCATED, Held, OpenTrajectory, Standing, hold
from .marker import Marker, entries_of, id_hash
from .order import in_order, missing_indices
from .route import Facts

HEAD_CHARACTERS = 250_000
"""A megabyte at most; there are three such texts."""


class Base(NamedTuple):
    """What a published revision holds, read back."""

    identity: tuple[str, int, int]
    """Trajectory id, milliseconds at which it was opened, revision."""
    steps: tuple[Held, ...]
    standing: Standing | None
    task_id: str | None
    task: str | None


class Closed(NamedTuple):
    """One revision: `head` and `steps` make its bytes, with or without a routing."""

    trajectory_id: str
    facts: Facts
    head: dict[str, object]
    steps: bytes
    marker: Marker

    def value(self, routing: dict[str, object] | None = None) -> bytes:
        """Return the record's value."""
        head = self.head if routing is None else self.head | {"routing": routing}
        return json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()[:-1] + self.steps


def read_base(value: bytes) -> Base:
    """Read a published revision back; raises ValueError when it is none."""
    published = Trajectory.model_validate_json(value)
    held = tuple(hold(step, step.model_dump_json(exclude_unset=True).encode()) for step in published.steps)
    stands = None
    if published.outcome is not None and published.outcome_at is not None:
        stands = Standing(published.outcome_at, b"", published.outcome)
    identity = published.trajectory_id, round(published.opened_at.timestamp() * 1000), published.revision
    return Base(identity, held, stands, published.task_id, published.task)


def close(trajectory: OpenTrajectory, reason: CloseReason, closed_ms: int, base: Base | None) -> Closed:
    """Make the next revision of a trajectory that has at least one step."""
    steps = in_order([*(base.steps if base else ()), *trajectory.steps.values()])
    stands = _last_outcome(trajectory, base)
    first = _read(steps[0])
    marker = _marker(trajectory, reason, closed_ms, stands)
    facts = Facts(
        trajectory.trajectory_id,
        trajectory.opened_ms,
        first.system,
        None if stands is None else stands.outcome,
        reason,
        bool(steps[-1].flags & ERROR),
    )
    head = _head(trajectory, first, steps, stands, marker) | _task(trajectory, steps, base)
    body = b',"steps":[' + b",".join(held.raw for held in steps) + b"]}"
    return Closed(trajectory.trajectory_id, facts, head, body, marker)


def _last_outcome(trajectory: OpenTrajectory, base: Base | None) -> Standing | None:
    """Return the newer of the two; the published one's tie is in the marker."""
    if base is None or base.standing is None or trajectory.marker is None:
        return trajectory.standing
    old = base.standing._replace(tie=trajectory.marker.outcome_tie)
    new = trajectory.standing
    return old if new is None or old.rank >= new.rank else new


def _head(
    trajectory: OpenTrajectory, first: StepEvent, steps: Sequence[Held], stands: Standing | None, marker: Marker
) -> dict[str, object]:
    gaps, gap_count = missing_indices(steps, GAPS_NAMED)
    head: dict[str, object] = {
        "schema_version": 1,
        "trajectory_id": trajectory.trajectory_id,
        "opened_at": iso(trajectory.opened_ms),
        "revision": marker.revision,
        "key_source": first.key_source,
        "tenant": first.tenant,
        "system": first.system,
        "system_version": first.system_version,
        "close_reason": marker.close_reason,
        "closed_at": iso(marker.closed_ms),
    }
    if stands is not None:
        head["outcome"] = _plain(stands.outcome)
        head["outcome_at"] = stands.time.isoformat()
    if gap_count:
        head |= {"gaps": gaps, "gap_count": gap_count}
    if shortened := [held.event_id for held in steps if held.flags & TRUNCATED]:
        head["truncations"] = shortened
    return {name: value for name, value in head.items() if value is not None}


def _task(trajectory: OpenTrajectory, steps: Sequence[Held], base: Base | None) -> dict[str, object]:
    """Name the task after the first step that does, else after the last outcome, else as the revision before."""
    step = next((_read(held) for held in steps if held.flags & TASK), None)
    sources = [one for one in (step, trajectory.naming, base) if one is not None]
    task_id = next((one.task_id for one in sources if one.task_id), None)
    task = next((one.task for one in sources if one.task), None)
    return {name: value for name, value in (("task_id", task_id), ("task", _beginning(task))) if value is not None}


def _marker(trajectory: OpenTrajectory, reason: CloseReason, closed_ms: int, stands: Standing | None) -> Marker:
    before = trajectory.marker
    events = [(held.event_id, held.raw) for held in trajectory.steps.values()]
    return Marker(
        trajectory.trajectory_id,
        trajectory.opened_ms,
        closed_ms,
        1 if before is None else before.revision + 1,
        None,
        reason,
        trajectory.total_size,
        trajectory.ended or (before is not None and before.ended),
        None if stands is None else stands.time,
        b"" if stands is None else stands.tie,
        (before.entries if before else b"") + entries_of([*events, *trajectory.outcomes.items()]),
    )


def _read(held: Held) -> StepEvent:
    line = read_line(held.raw)
    assert isinstance(line, Line)
    assert isinstance(line.event, StepEvent)
    return line.event


def _plain(outcome: Outcome) -> dict[str, object]:
    texts = {"reason": _beginning(outcome.reason), "ground_truth": _beginning(outcome.ground_truth)}
    return outcome.model_copy(update=texts).model_dump(mode="json", exclude_none=True)


def _beginning(text: str | None) -> str | None:
    return text if text is None or len(text) <= HEAD_CHARACTERS else f"{text[: HEAD_CHARACTERS - 1]}…"


def iso(milliseconds: int) -> str:
    """Return milliseconds since the epoch as an ISO time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def pipeline_id(*parts: object) -> str:
    """Return an id that is the same for the same report."""
    return id_hash("/".join(map(str, parts))).hex()
