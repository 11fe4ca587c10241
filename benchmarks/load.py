"""The load that the benchmarks share: 1 kB step events of trajectories that stay open across checkpoints.

Their content is words drawn by a seed from a vocabulary with a long tail, so that it compresses as text does. Every
trajectory has an outcome, a fifth of them failures; it comes with the last step, or alone when the run is long closed.
"""

import heapq
import json
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple
from zlib import crc32

from schemas.wire import NDJSON

START = datetime(2026, 1, 1, tzinfo=UTC)
LENGTH = 700
FAILED = 5
"""Of so many trajectories one fails."""


class Late(NamedTuple):
    """Every second run's outcome comes alone: so many events after its end, and up to so many more."""

    after: int
    spread: int


Outcome = dict[str, object]


class Sent(NamedTuple):
    """One record for `step-events`."""

    key: bytes
    value: bytes
    events: int = 1
    ends: bool = False
    """It ends a run."""
    owes_outcome: bool = False
    """It ends a run whose outcome comes alone, later."""

    is_outcome: bool = False
    """An outcome alone."""

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """What tells a record of many events."""
        return [("content-type", NDJSON)] if self.events > 1 else []


def _contents(number: int = 1_009) -> list[str]:
    """Return so many different texts."""
    rng = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(4_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return [" ".join(rng.choices(words, weights, k=LENGTH // 5))[:LENGTH] for _ in range(number)]


CONTENTS = _contents()


def step_event(trajectory_id: str, index: int, *, final: bool = False, outcome: Outcome | None = None) -> bytes:
    """Return one step event of about 1 kB."""
    event: dict[str, object] = {
        "event_id": f"{trajectory_id}-{index}",
        "trajectory_id": trajectory_id,
        "system": "orders",
        "system_version": "3.1",
        "agent": f"agent-{index % 4}",
        "agent_version": "12",
        "kind": "tool_result",
        "step_index": index,
        "parent_id": f"{trajectory_id}-{index - 1}",
        "content": CONTENTS[(crc32(trajectory_id.encode()) + index) % len(CONTENTS)],
        "tool": {"name": "lookup", "arguments": {"sku": "A-1", "counts": [1, 2]}, "result": "ok"},
        "usage": {"model": "m", "input_tokens": 900, "output_tokens": 41},
        "started_at": START.isoformat(),
        "ended_at": START.isoformat(),
        "final": final,
    }
    if outcome is not None:
        event["outcome"] = outcome
    return json.dumps(event, separators=(",", ":")).encode()


def outcome_event(trajectory_id: str, one_in: int) -> bytes:
    """Return a trajectory's outcome, decided after its last step."""
    event = {
        "kind": "outcome",
        "event_id": f"{trajectory_id}-outcome",
        "trajectory_id": trajectory_id,
        "outcome": outcome_of(trajectory_id, one_in),
        "at": START.replace(minute=5).isoformat(),
    }
    return json.dumps(event, separators=(",", ":")).encode()


def fails(trajectory_id: str, one_in: int = FAILED) -> bool:
    """Whether a run fails, as one in so many does."""
    return crc32(trajectory_id.encode()) % one_in == 0


def outcome_of(trajectory_id: str, one_in: int = FAILED) -> Outcome:
    """Return a run's outcome."""
    result = "failure" if fails(trajectory_id, one_in) else "success"
    return {"result": result, "score": 0.5, "evaluator": "checker"}


def piece(trajectory_id: str, first: int, end: int, steps: int, outcome: Outcome | None = None) -> Sent:
    """Return steps `first` up to `end` of a run of so many as one record; its last step brings the outcome."""
    lines = [
        step_event(trajectory_id, index, final=index == steps - 1, outcome=outcome if index == steps - 1 else None)
        for index in range(first, end)
    ]
    return Sent(trajectory_id.encode(), b"\n".join(lines), end - first, ends=end == steps)


def opened(open_trajectories: int, steps: int, together: int = 1) -> Iterator[Sent]:
    """Begin so many runs, and bring each to another step."""
    for slot in range(open_trajectories):
        for first in range(0, _begun(slot, open_trajectories, steps, together), together):
            yield piece(_name(slot, 0), first, first + together, steps)


def in_turn(
    open_trajectories: int,
    steps: int,
    together: int = 1,
    *,
    late: Late | None = None,
    one_in: int = FAILED,
    runs: int | None = None,
) -> Iterator[Sent]:
    """Go on with what `opened` began: a run goes on after every other has; where one ends a new one begins at once.

    `late` runs, every second one, bring no outcome with their last step; of `one_in` runs one fails. It ends when so
    many `runs` have, or never.
    """
    places = {slot: (_begun(slot, open_trajectories, steps, together), 0) for slot in range(open_trajectories)}
    begun = open_trajectories
    while places:
        for slot, (index, lap) in list(places.items()):
            yield _next_piece(slot, lap, index, together, steps, late, one_in)
            places[slot] = (index + together, lap)
            if index + together < steps:
                continue
            if begun == runs:
                del places[slot]
                continue
            begun += 1
            yield _next_piece(slot, lap + 1, 0, together, steps, late, one_in)
            places[slot] = (together, lap + 1)


def _next_piece(slot: int, lap: int, index: int, together: int, steps: int, late: Late | None, one_in: int) -> Sent:
    trajectory_id, end = _name(slot, lap), index + together
    owes = late is not None and (slot + lap) % 2 == 1
    outcome = None if owes else outcome_of(trajectory_id, one_in)
    return piece(trajectory_id, index, end, steps, outcome)._replace(owes_outcome=owes and end == steps)


def interleaved(
    open_trajectories: int,
    steps: int = 40,
    together: int = 1,
    *,
    late: Late | None = None,
    one_in: int = FAILED,
    runs: int | None = None,
) -> Iterator[Sent]:
    """Yield records with so many trajectories open at any time, each at another step, until so many `runs` have ended.

    `together` consecutive steps of a run are one record: a sender that batches has its own run's steps. With `late`
    every second run's outcome comes alone, long after its end.
    """
    going = in_turn(open_trajectories, steps, together, late=late, one_in=one_in, runs=runs)
    sent = chain(opened(open_trajectories, steps, together), going)
    return sent if late is None else _with_late_outcomes(sent, late, one_in)


def up_to(records: Iterable[Sent], events: int) -> Iterator[Sent]:
    """Yield records until they hold so many events; raises ValueError where that falls inside a record."""
    left = events
    for record in records:
        yield record
        left -= record.events
        if left <= 0:
            break
    if left:
        raise ValueError(f"{events} events end {-left} before a record does; give a multiple of its events")


def _with_late_outcomes(records: Iterable[Sent], late: Late, one_in: int) -> Iterator[Sent]:
    waiting: list[tuple[int, str]] = []
    at = 0
    for record in records:
        yield record
        at += record.events
        if record.owes_outcome:
            heapq.heappush(waiting, (at + late.after + crc32(record.key) % late.spread, record.key.decode()))
        while waiting and waiting[0][0] <= at:
            trajectory_id = heapq.heappop(waiting)[1]
            yield Sent(trajectory_id.encode(), outcome_event(trajectory_id, one_in), is_outcome=True)
            at += 1
    for _, trajectory_id in sorted(waiting):
        yield Sent(trajectory_id.encode(), outcome_event(trajectory_id, one_in), is_outcome=True)


def _begun(slot: int, open_trajectories: int, steps: int, together: int) -> int:
    return slot * steps // open_trajectories // together * together


def _name(slot: int, lap: int) -> str:
    return f"t-{slot:06d}-{lap:05d}"
