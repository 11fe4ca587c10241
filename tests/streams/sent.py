"""The events that the machine sends, by their names: few trajectories, so that everything happens to each."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from schemas import Event, OutcomeEvent, Result, StepEvent
from tests.factories import START, outcome, outcome_event, raw, step

IDS = ("alpha", "epsilon", "beta", "zeta")
"""Of two partitions every other one is at home in 0."""


def _steps(trajectory_id: str, number: int) -> Iterator[StepEvent]:
    """Yield a step, and another that claims its id."""
    random = Random(f"{trajectory_id}/{number}")
    how = IDS.index(trajectory_id)
    indexed = how == 0 or (how > 1 and random.random() < 0.5)
    for content in ("as it was", "as it was not"):
        yield step(
            trajectory_id,
            number if indexed else None,
            event_id=f"e{number}",
            agent=f"agent-{number % 2}",
            content=content * random.choice((1, 1, 1, 30)),
            parent_id=None if random.random() < 0.4 else f"e{random.randrange(7)}",
            started_at=START + timedelta(seconds=random.randrange(4)),
            final=number == 3 and how < 3,
            error_type="timeout" if number % 3 == 2 else None,
            outcome=outcome(Result.UNKNOWN, score=0.5) if number == 4 else None,
            task="mend the shop" if number == 5 else None,
        )


def _outcomes(trajectory_id: str, number: int) -> Iterator[OutcomeEvent]:
    for result in (Result.FAILURE, Result.SUCCESS):
        yield outcome_event(
            trajectory_id,
            result,
            event_id=f"o{number}",
            at=START + timedelta(seconds=(0, 2, 2, 3600)[number]),
            final=number > 1,
            step_count=(None, None, None, 3)[number],
            task="sell the shop" if number == 1 else None,
        )


def _named() -> Iterator[tuple[str, bytes]]:
    """Yield every event that is sent, by a name: its trajectory, its id, and whether it is another or written anew."""
    for trajectory_id in IDS:
        for number in range(7):
            yield from _ways(f"{trajectory_id}/e{number}", _steps(trajectory_id, number))
        for number in range(4):
            yield from _ways(f"{trajectory_id}/o{number}", _outcomes(trajectory_id, number))
    yield "not json", b"{not json"
    yield "invalid", b'{"kind":"outcome"}'
    yield "not utf-8", b"\xff"
    yield "1970", raw(step("alpha", 1, event_id="old", started_at=datetime(1970, 1, 1, tzinfo=UTC)))
    yield "2099", raw(step("beta", 1, event_id="new", ended_at=datetime(2099, 1, 1, tzinfo=UTC)))


def _ways(name: str, events: Iterable[Event]) -> Iterator[tuple[str, bytes]]:
    for which, event in zip(("", " other"), events, strict=True):
        yield name + which, raw(event)
        yield f"{name}{which} anew", json.dumps(json.loads(raw(event)), sort_keys=True).encode()


SENT = dict(_named())
PLAIN = [name for name in SENT if "/" in name and " " not in name]
