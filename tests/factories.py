"""Real objects for tests: every function gives a valid contract, and takes what a test wants changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas import (
    CloseReason,
    KeySource,
    Outcome,
    OutcomeEvent,
    Result,
    StepEvent,
    Trajectory,
    Verdict,
    VerdictStatus,
)

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def step(trajectory_id: str = "t1", index: int | None = 0, **fields: Any) -> StepEvent:
    """Return a step event; its id is `<trajectory_id>-<index>` and it starts `index` seconds after START."""
    number = index or 0
    defaults: dict[str, Any] = {
        "event_id": f"{trajectory_id}-{index}",
        "trajectory_id": trajectory_id,
        "system": "shop",
        "agent": f"agent-{number % 3}",
        "step_index": index,
        "content": f"step {index} of {trajectory_id}",
        "started_at": START + timedelta(seconds=number),
    }
    return StepEvent(**defaults | fields)


def outcome(result: Result = Result.FAILURE, **fields: Any) -> Outcome:
    """Return an outcome."""
    defaults: dict[str, Any] = {"result": result}
    return Outcome(**defaults | fields)


def outcome_event(trajectory_id: str = "t1", result: Result = Result.FAILURE, **fields: Any) -> OutcomeEvent:
    """Return an outcome event, an hour after START."""
    defaults: dict[str, Any] = {
        "kind": "outcome",
        "event_id": f"{trajectory_id}-outcome",
        "trajectory_id": trajectory_id,
        "outcome": outcome(result),
        "at": START + timedelta(hours=1),
    }
    return OutcomeEvent(**defaults | fields)


def trajectory(steps: list[StepEvent] | None = None, **fields: Any) -> Trajectory:
    """Return a closed, failed trajectory of three steps."""
    steps = [step(index=index) for index in range(3)] if steps is None else steps
    defaults: dict[str, Any] = {
        "trajectory_id": steps[0].trajectory_id if steps else "t1",
        "opened_at": START,
        "revision": 1,
        "key_source": KeySource.RUN_ID,
        "tenant": "default",
        "system": "shop",
        "outcome": outcome(),
        "outcome_at": START + timedelta(minutes=1),
        "close_reason": CloseReason.COMPLETED,
        "closed_at": START + timedelta(minutes=1),
        "steps": tuple(steps),
    }
    return Trajectory(**defaults | fields)


def verdict(of: Trajectory | None = None, **fields: Any) -> Verdict:
    """Return an attributed verdict that blames the last step."""
    of = of or trajectory()
    last = of.steps[-1]
    defaults: dict[str, Any] = {
        "verdict_id": f"{of.trajectory_id}-v{of.revision}",
        "trajectory_id": of.trajectory_id,
        "opened_at": of.opened_at,
        "revision": of.revision,
        "tenant": of.tenant,
        "system": of.system,
        "status": VerdictStatus.ATTRIBUTED,
        "agent": last.agent,
        "step_index": len(of.steps) - 1,
        "event_id": last.event_id,
        "tracer": "last_step",
        "tracer_version": "1",
        "decided_at": START + timedelta(minutes=2),
    }
    return Verdict(**defaults | fields)


def raw(event: StepEvent | OutcomeEvent) -> bytes:
    """Return an event's bytes, as a sender writes them."""
    return (
        event.model_dump_json(exclude_defaults=True).encode()
        if isinstance(event, StepEvent)
        else event.model_dump_json().encode()
    )
