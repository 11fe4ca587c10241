"""What one partition holds in memory: steps as the bytes they came in, and the trajectories they belong to.

Rules: a step keeps its bytes and the few facts that ordering, closing and routing ask for; an event is known by
its id, and told from a conflict by its bytes.
"""

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import NamedTuple

from schemas import CloseReason, Event, Outcome, OutcomeEvent, StepEvent

from .marker import Marker, id_hash

ERROR, TRUNCATED, TASK = 1, 2, 4
"""What a step says beside its content; bits of `Held.flags`, which a fold sets for every step."""


class Held(NamedTuple):
    """One step: its bytes, and what ordering needs."""

    event_id: str
    raw: bytes
    sequence: int | None
    parent_id: str | None
    started_at: datetime
    flags: int


_held = partial(tuple.__new__, Held)
"""Half the time of its constructor, for what is made once an event."""


class Standing(NamedTuple):
    """The outcome that stands; the order is by time, then by the event id's hash."""

    time: datetime
    tie: bytes
    outcome: Outcome
    task_id: str | None = None
    task: str | None = None

    @property
    def rank(self) -> tuple[datetime, bytes]:
        """What the last one is chosen by."""
        return self.time, self.tie


def hold(event: StepEvent, raw: bytes) -> Held:
    """Keep a step's bytes and what is asked of it later."""
    flags = 0
    if event.error_type or (event.tool is not None and event.tool.error):
        flags |= ERROR
    if event.truncated:
        flags |= TRUNCATED
    if event.task or event.task_id:
        flags |= TASK
    return _held((event.event_id, raw, event.step_index, event.parent_id, event.started_at, flags))


def standing(event: Event) -> Standing | None:
    """Return the outcome that an event brings, if it brings one."""
    if event.outcome is None:
        return None
    task_id, task = (event.task_id, event.task) if isinstance(event, OutcomeEvent) else (None, None)
    return Standing(event.time, id_hash(event.event_id), event.outcome, task_id, task)


@dataclass(slots=True, eq=False)
class OpenTrajectory:
    """A trajectory that still takes events; `marker` is what it was reopened from."""

    trajectory_id: str
    opened_ms: int
    last_ms: int
    """Watched time at which its last event was folded."""
    marker: Marker | None = None
    steps: dict[str, Held] = field(default_factory=dict)
    outcomes: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    standing: Standing | None = None
    naming: Standing | None = None
    """The last outcome that names the task."""
    ended: bool = False
    expected: int | None = None
    """How many steps its end says it has."""
    limit: CloseReason | None = None
    fresh: list[bytes] = field(default_factory=list)
    """Events since the last checkpoint, in the order they came."""
    segments: int = 0
    via: dict[int, int] | None = None
    """The partitions that forwarded events of it, and their time when they did so last."""
    count: int = 0
    """Events it holds, those of its earlier revisions included."""
    total_size: int = 0
    """Bytes of its events, those of its earlier revisions included."""

    def __post_init__(self) -> None:
        if self.marker is not None:
            self.count, self.total_size = self.marker.events, self.marker.size

    def may_know(self, event_id: str) -> bool:
        """Whether an event id is held, or could be one of an earlier revision."""
        return event_id in self.steps or event_id in self.outcomes or self.marker is not None

    def known(self, event_id: str) -> bytes | None:
        """Return the bytes under which an event id is held, None if it is not."""
        held = self.steps.get(event_id)
        return held.raw if held is not None else self.outcomes.get(event_id)

    def add(self, event: Event, raw: bytes) -> None:
        """Take an event that is new here."""
        if isinstance(event, StepEvent):
            self.steps[event.event_id] = hold(event, raw)
            if event.final:
                self._end(None if event.step_index is None else event.step_index + 1)
        else:
            self.outcomes[event.event_id] = raw
            if event.final:
                self._end(event.step_count)
        size = len(raw)
        self.size += size
        self.total_size += size
        self.count += 1
        self.fresh.append(raw)
        if event.outcome is not None:
            self._take_outcome(event)

    def _take_outcome(self, event: Event) -> None:
        brought = standing(event)
        assert brought is not None
        self.standing = _later(self.standing, brought)
        if brought.task_id or brought.task:
            self.naming = _later(self.naming, brought)

    def _end(self, expected: int | None) -> None:
        self.ended = True
        if expected is not None:
            self.expected = max(expected, self.expected or 0)

    def is_whole(self) -> bool:
        """Whether its end has come and no producer index is missing before it."""
        if not self.ended or self.marker is not None or self.expected != len(self.steps):
            return False
        return {held.sequence for held in self.steps.values()} == set(range(self.expected))


def _later(one: Standing | None, other: Standing) -> Standing:
    return other if one is None or other.rank > one.rank else one
