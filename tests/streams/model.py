"""The assembler of one partition as the design tells it: lists and loops, nothing forgotten, nothing kept up to date.

What the real one must do is computed anew from every event that a run ever took. Rules: no segment, no marker, no
index; a checkpoint that stands is a copy of the model, and a kill goes back to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas import CloseReason, DeadLetterReason, Event, OutcomeEvent, StepEvent
from schemas.fields import EARLIEST
from schemas.topics import MB
from schemas.wire import BadLine, Line, is_ndjson, read_record
from streams.assemble import SourceRecord
from streams.home import home_partition
from streams.limits import Limits
from streams.marker import id_hash
from streams.relay import FORWARDED, told

Rank = tuple[datetime, bytes]
Letter = tuple[DeadLetterReason, int, int, bytes | None]
"""Reason, offset, line, bytes."""


@dataclass
class Run:
    """One run of a trajectory id, from its first event on; `taken` of its events are published."""

    trajectory_id: str
    opened_ms: int
    quiet_since: int
    turn: int = 0
    """Of two that are quiet since the same time, who came first."""
    last_append_ms: int = 0
    lines: list[Line] = field(default_factory=list)
    taken: int = 0
    revision: int = 0
    is_open: bool = True
    is_known: bool = True
    """Until its late window is over, or there is no room."""
    closed_ms: int = 0
    place: int = 0
    reason: CloseReason | None = None
    limit: CloseReason | None = None
    via: dict[int, int] = field(default_factory=dict)
    """Partitions that forwarded what is new of it, and their time then."""

    def copy(self) -> "Run":
        return replace(self, lines=list(self.lines), via=dict(self.via))

    @property
    def new(self) -> list[Line]:
        return self.lines[self.taken :]

    @property
    def size(self) -> int:
        return sum(len(line.raw) for line in self.lines)

    @property
    def marker_room(self) -> int:
        """What a closed-marker is counted with: a constant, and 12 bytes an event."""
        return len(self.trajectory_id) + 300 + 12 * self.taken if self.revision else 0

    @property
    def room(self) -> int:
        return sum(len(line.raw) for line in self.new) + self.marker_room

    @property
    def is_ended(self) -> bool:
        return any(line.event.final for line in self.lines)

    def steps(self, lines: Iterable[Line] | None = None) -> list[StepEvent]:
        among = self.lines if lines is None else lines
        return [line.event for line in among if isinstance(line.event, StepEvent)]

    def is_whole(self) -> bool:
        """Whether nothing is missing before its end, by the producer's own sequence."""
        ends = [expected_steps(line.event) for line in self.lines if line.event.final]
        said = [end for end in ends if end is not None]
        indices = [step.step_index for step in self.steps()]
        return bool(said) and None not in indices and sorted(indices, key=int_of) == list(range(max(said)))

    def last_outcome(self) -> tuple[Rank, Event] | None:
        found = [(rank(line.event), line.event) for line in self.lines if line.event.outcome is not None]
        return max(found, key=lambda one: one[0]) if found else None


def int_of(index: int | None) -> int:
    return -1 if index is None else index


def rank(event: Event) -> Rank:
    return event.time, id_hash(event.event_id)


def expected_steps(event: Event) -> int | None:
    if isinstance(event, OutcomeEvent):
        return event.step_count
    return None if event.step_index is None else event.step_index + 1


def right_order(steps: Sequence[StepEvent]) -> list[StepEvent]:
    """Take, again and again, the earliest of those that wait for nobody."""
    left, done = list(steps), []
    while left:
        free = [step for step in left if not any(_comes_before(other, step) for other in left)]
        chosen = min(free or left, key=lambda step: (step.started_at, step.event_id))
        left.remove(chosen)
        done.append(chosen)
    return done


def _comes_before(one: StepEvent, other: StepEvent) -> bool:
    if other.step_index is None:
        return one.event_id == other.parent_id and one is not other
    return one.step_index is not None and _by_index(one) < _by_index(other)


def _by_index(step: StepEvent) -> tuple[int, datetime, str]:
    return int_of(step.step_index), step.started_at, step.event_id


class Revision(NamedTuple):
    """What is published of a run."""

    trajectory_id: str
    opened_ms: int
    revision: int
    reason: CloseReason
    closed_ms: int
    steps: list[StepEvent]
    outcome: Event | None
    missing: list[int]
    task: str | None


@dataclass
class Written:
    """One checkpoint's outputs."""

    revisions: list[Revision] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    forwards: list[tuple[int, bytes]] = field(default_factory=list)
    outcomes: list[bytes] = field(default_factory=list)
    evicted: int = 0
    """Reported: how many left before their late window was over."""
    memory_closed: int = 0
    """Reported: how many the partition had no room for."""


class Model:
    """One partition."""

    def __init__(self, partition: int, partitions: int, limits: Limits) -> None:
        self.partition, self.partitions, self.limits = partition, partitions, limits
        self.runs: list[Run] = []
        self.time_ms = self.watched_ms = 0
        self.next_offset = 0
        self.written = Written()
        self.turns = 0
        self.elsewhere: dict[int, int] = {}
        """The time of other partitions, as they told it last."""
        self.append_ms = 0
        """Of the last record that was read since the start."""

    def restored(self) -> "Model":
        """Return what a worker knows that starts from here: of a limit, only what is published."""
        copy = Model(self.partition, self.partitions, self.limits)
        copy.time_ms, copy.watched_ms, copy.next_offset = self.time_ms, self.watched_ms, self.next_offset
        copy.elsewhere = dict(self.elsewhere)
        copy.runs = [run.copy() for run in self.runs]
        for turn, run in enumerate(sorted(copy.open, key=lambda run: (run.quiet_since, run.trajectory_id))):
            run.turn = turn
            run.limit = run.reason if run.reason is not None and run.reason.is_limit else None
        copy.turns = len(copy.runs)
        return copy

    @property
    def open(self) -> list[Run]:
        return [run for run in self.runs if run.is_open]

    @property
    def closed(self) -> list[Run]:
        """Those still known, longest closed first."""
        known = [run for run in self.runs if run.is_known and not run.is_open]
        return sorted(known, key=lambda run: (run.closed_ms, run.place))

    # what comes

    def passed(self, elapsed_ms: int) -> None:
        if self.time_ms:
            self.time_ms += min(elapsed_ms, self.limits.max_gap_ms)
            self.watched_ms += min(elapsed_ms, self.limits.max_gap_ms)

    def fold(self, record: SourceRecord) -> None:
        if record.offset < self.next_offset:
            return
        self.next_offset = record.offset + 1
        self.append_ms = record.append_ms
        self._appended(record.append_ms)
        if (time := told(record.headers)) is not None:
            self.elsewhere[time.partition] = time.watched_ms
            if not record.value:
                return
        for line in read_record(record.value, ndjson=is_ndjson(record.headers)):
            if isinstance(line, BadLine):
                self._refuse(line.reason, record, line)
            else:
                self._take(line, record)

    def _appended(self, append_ms: int) -> None:
        gap = max(0, append_ms - self.time_ms)
        self.watched_ms += min(gap, self.limits.max_gap_ms) if self.time_ms else gap
        self.time_ms += gap

    def _refuse(self, reason: DeadLetterReason, record: SourceRecord, line: Line | BadLine) -> None:
        self.written.letters.append((reason, record.offset, line.number, line.raw))

    def _take(self, line: Line, record: SourceRecord) -> None:
        run = self._run_of(line.event.trajectory_id)
        if not _is_in_time(line.event, record.append_ms):
            self._refuse(DeadLetterReason.TIMESTAMP, record, line)
        elif run is None:
            self._begin(line, record)
        elif (held := _known(run, line.event.event_id)) is not None:
            if not _is_same(held, line, only_bytes=held in run.lines[: run.taken]):
                self._refuse(DeadLetterReason.CONFLICT, record, line)
        elif self._is_over_limit(run, line):
            self._refuse(DeadLetterReason.OVER_LIMIT, record, line)
            if run.is_open and run.limit is None:
                run.limit = CloseReason.TOO_LONG
        elif not run.is_open and not _is_news(run, line.event):
            self.written.outcomes.append(line.raw)
        else:
            self._add(run, line, record)

    def _run_of(self, trajectory_id: str) -> Run | None:
        """Return the run that an event of this id joins: the open one, or one closed within the late window."""
        oldest = self.time_ms - self.limits.late_window_ms
        for run in reversed(self.runs):
            if run.trajectory_id == trajectory_id and (run.is_open or (run.is_known and run.closed_ms >= oldest)):
                return run
        return None

    def _begin(self, line: Line, record: SourceRecord) -> None:
        home = home_partition(line.event.trajectory_id, self.partitions)
        if len(line.raw) > self.limits.max_bytes:
            self._refuse(DeadLetterReason.TOO_LARGE, record, line)
        elif home != self.partition:
            if any(name == FORWARDED for name, _ in record.headers):
                self._refuse(DeadLetterReason.MISROUTED, record, line)
            else:
                self.written.forwards.append((home, line.raw))
        else:
            run = Run(line.event.trajectory_id, record.append_ms, self.watched_ms)
            self.runs.append(run)
            self._add(run, line, record)

    def _is_over_limit(self, run: Run, line: Line) -> bool:
        """Beyond a limit no step is taken, outcomes for a good while yet."""
        most_events, most_bytes = self.limits.max_steps, self.limits.max_bytes
        if isinstance(line.event, OutcomeEvent):
            most_events, most_bytes = most_events + 1000, most_bytes + MB
        elif run.limit is not None:
            return True
        return len(run.lines) >= most_events or run.size + len(line.raw) > most_bytes

    def _add(self, run: Run, line: Line, record: SourceRecord) -> None:
        run.lines.append(line)
        run.is_open = True
        run.quiet_since, run.last_append_ms = self.watched_ms, record.append_ms
        run.turn = self.turns = self.turns + 1
        if (time := told(record.headers)) is not None:
            run.via[time.partition] = time.watched_ms
        if isinstance(line.event, OutcomeEvent):
            self.written.outcomes.append(line.raw)

    # what closes

    def decide(self) -> list[tuple[Run, CloseReason]]:
        """Return what closes now: by its end, idleness, age; then what there is no room for."""
        decided = [(run, reason) for run in self.open if (reason := self._reason(run)) is not None]
        closing = [run for run, _ in decided]
        left = sorted((run for run in self.open if run not in closing), key=lambda run: (run.quiet_since, run.turn))
        while len(left) > self.limits.max_open or sum(run.room for run in left) > self.limits.max_open_bytes:
            decided.append((left.pop(0), CloseReason.MEMORY))
        return decided

    def _reason(self, run: Run) -> CloseReason | None:
        quiet_ms = self.watched_ms - run.quiet_since
        is_quiet = quiet_ms >= self.limits.grace_ms and self._is_quiet_elsewhere(run, self.limits.grace_ms)
        only_outcomes = not run.steps(run.new)
        by_itself = CloseReason.COMPLETED if run.is_ended else CloseReason.IDLE
        if run.revision and only_outcomes and not run.is_ended:
            by_itself = run.reason or by_itself
        if run.limit is not None and (is_quiet or not run.revision):
            return run.limit
        if run.revision and (is_quiet and (run.is_ended or only_outcomes)):
            return by_itself
        if not run.revision and run.is_ended and run.steps() and (is_quiet or run.is_whole()):
            return by_itself
        if quiet_ms >= self.limits.idle_ms and self._is_quiet_elsewhere(run, self.limits.idle_ms):
            return run.limit or by_itself
        if not run.revision and self.time_ms - run.opened_ms >= self.limits.max_age_ms:
            return CloseReason.TOO_OLD
        return None

    def _is_quiet_elsewhere(self, run: Run, for_ms: int) -> bool:
        return all(self.elsewhere[partition] - then_ms >= for_ms for partition, then_ms in run.via.items())

    def take(self, decided: Iterable[tuple[Run, CloseReason]]) -> Written:
        """Write a checkpoint."""
        written, self.written = self.written, Written()
        self._forget(written)
        for run, reason in decided:
            written.memory_closed += reason is CloseReason.MEMORY and run.limit is None
            run.is_open = False
            run.is_known = bool(run.steps())
            if run.is_known:
                written.revisions.append(self._close(run, reason))
        return written

    def placed(self, places: Mapping[tuple[str, int], int]) -> None:
        """Note where revisions stand on `trajectories`; of those closed at the same time the first leaves first."""
        for run in self.runs:
            run.place = places.get((run.trajectory_id, run.opened_ms), run.place)

    def _forget(self, written: Written) -> None:
        known = self.closed
        for run in known:
            is_late = run.closed_ms < self.time_ms - self.limits.late_window_ms
            has_room = sum(one.marker_room for one in known if one.is_known) <= self.limits.max_marker_bytes
            if not is_late and (has_room or run.opened_ms >= self.append_ms):
                break  # a run is known by its id and when it was opened, so no two of an id are opened at one time
            run.is_known = False
            written.evicted += not is_late

    def _close(self, run: Run, reason: CloseReason) -> Revision:
        run.revision += 1
        run.reason, run.closed_ms, run.taken = reason, self.time_ms, len(run.lines)
        run.limit, run.via = reason if reason.is_limit else None, {}
        steps, stands = right_order(run.steps()), run.last_outcome()
        indices = [step.step_index for step in steps if step.step_index is not None]
        missing = [index for index in range(max(indices, default=-1) + 1) if index not in indices]
        return Revision(
            run.trajectory_id, run.opened_ms, run.revision, reason, run.closed_ms, steps,
            None if stands is None else stands[1], missing, _task(steps, run),
        )  # fmt: skip


def _task(steps: Iterable[StepEvent], run: Run) -> str | None:
    outcomes = sorted(
        (line.event for line in run.lines if isinstance(line.event, OutcomeEvent)), key=rank, reverse=True
    )
    tasks = [*(step.task for step in steps), *(outcome.task for outcome in outcomes)]
    return next((task for task in tasks if task), None)


def _is_in_time(event: Event, append_ms: int) -> bool:
    latest = datetime.fromtimestamp(append_ms / 1000, UTC) + timedelta(days=1)
    times = [event.at] if isinstance(event, OutcomeEvent) else [event.started_at, event.ended_at]
    return all(EARLIEST <= time <= latest for time in times if time is not None)


def _known(run: Run, event_id: str) -> Line | None:
    return next((line for line in run.lines if line.event.event_id == event_id), None)


def _is_same(held: Line, line: Line, *, only_bytes: bool) -> bool:
    """Of what is published only a checksum of its bytes is kept, so another writing of it counts as other content."""
    return held.raw == line.raw or (not only_bytes and held.event == line.event)


def _is_news(run: Run, event: Event) -> bool:
    """Whether a late event makes another revision: a step does, an outcome that is the last by time does."""
    stands = run.last_outcome()
    return isinstance(event, StepEvent) or stands is None or rank(event) > stands[0]
