"""What closes, and what one checkpoint holds: everything since the last, to be written in one transaction.

    due(assembler)                 what closes now, and which of it was reopened and needs its content read back
    collect(assembler, due, …)     outputs, and the state without what depends on the outputs' places
    committed(assembler, …)        the transaction stands: closed trajectories have a place
    restore(assembler, state)      the other way round, on assignment

Rules: a trajectory closes by its end (at once if no index is missing before it, else after a grace), by idleness in
the partition's own time, or by a limit; a checkpoint that failed is written again or its partition is given up;
only one is under way at a time, while folding goes on.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from schemas import CloseReason, DeadLetter, PipelineEvent, PipelineEventKind, Routing, TopicName
from schemas.errors import PartitionCountError, StateError
from schemas.wire import Line, read_line

from .assemble import Assembler, Forward, Pending
from .close import Base, Closed, close, pipeline_id
from .held import OpenTrajectory
from .marker import Marker
from .relay import after as relays_after
from .relay import due as due_homes
from .route import RoutingRules, forget_old_hours, route
from .state import (
    Record,
    Restored,
    Segment,
    Source,
    marker_key,
    segment_record,
    source_record,
    tombstones,
)

TELL_MS = 500


class Due(NamedTuple):
    """A trajectory that closes, and why."""

    trajectory: OpenTrajectory
    reason: CloseReason


class Checkpoint(NamedTuple):
    """One transaction's worth."""

    closed: list[tuple[Closed, Routing | None]]
    dead_letters: list[DeadLetter]
    forwards: list[Forward]
    told: list[int]
    """Homes that are told this partition's time, and nothing else."""
    outcomes: list[tuple[str, bytes]]
    reports: list[PipelineEvent]
    state: list[Record]
    source: Source
    events: int

    def last(self, places: list[int]) -> list[Record]:
        """Return what follows `state`, now that the closed trajectories' offsets on `trajectories` are known."""
        pairs = zip(self.closed, places, strict=True)
        markers = [
            (marker_key(one.trajectory_id), one.marker._replace(place=place).encode()) for (one, _), place in pairs
        ]
        return [*markers, source_record(self.source)]


def due(assembler: Assembler) -> list[Due]:
    """Return what closes now, those that a limit closes last."""
    found = {one.trajectory.trajectory_id: one for one in _ended(assembler)}
    for one in _idle(assembler):
        found.setdefault(one.trajectory.trajectory_id, one)
    for one in _too_old(assembler):
        found.setdefault(one.trajectory.trajectory_id, one)
    for one in _no_room(assembler, found):
        found.setdefault(one.trajectory.trajectory_id, one)
    return list(found.values())


def _ended(assembler: Assembler) -> Iterator[Due]:
    for trajectory_id in assembler.soon:
        one = assembler.open[trajectory_id]
        waits = one.marker is not None or not (one.limit or one.is_whole())
        if waits and not _is_quiet(assembler, one, assembler.limits.grace_ms):
            continue
        if one.limit is not None or (one.ended and (one.steps or one.marker)) or _brought_only_outcomes(one):
            yield Due(one, _reason(one))


def _brought_only_outcomes(trajectory: OpenTrajectory) -> bool:
    return trajectory.marker is not None and not trajectory.steps


def _idle(assembler: Assembler) -> Iterator[Due]:
    quiet_since = assembler.clock.watched_ms - assembler.limits.idle_ms
    for one in assembler.open.values():
        if one.last_ms > quiet_since:
            return
        if _is_quiet(assembler, one, assembler.limits.idle_ms):
            yield Due(one, _reason(one))


def _is_quiet(assembler: Assembler, one: OpenTrajectory, for_ms: int) -> bool:
    """Whether nothing came for so long, in this partition's time and in that of each that forwards to it."""
    return one.last_ms <= assembler.clock.watched_ms - for_ms and all(
        assembler.elsewhere.get(partition, 0) >= forwarded_ms + for_ms
        for partition, forwarded_ms in (one.via or {}).items()
    )


def to_be_told(assembler: Assembler) -> list[int]:
    """Return the homes that wait for this partition's time."""
    limits = assembler.limits
    return due_homes(assembler.relays, assembler.clock.watched_ms, limits.idle_ms, max(limits.grace_ms, TELL_MS))


def _too_old(assembler: Assembler) -> Iterator[Due]:
    opened_before = assembler.clock.time_ms - assembler.limits.max_age_ms
    for trajectory_id in assembler.by_age:
        one = assembler.open[trajectory_id]
        if one.opened_ms > opened_before:
            return
        yield Due(one, CloseReason.TOO_OLD)


def _no_room(assembler: Assembler, closing: Mapping[str, Due]) -> Iterator[Due]:
    """Close the longest quiet until the partition's limits hold."""
    count = len(assembler.open) - len(closing)
    size = assembler.open_bytes - sum(_memory(one.trajectory) for one in closing.values())
    for one in assembler.open.values():
        if count <= assembler.limits.max_open and size <= assembler.limits.max_open_bytes:
            return
        if one.trajectory_id not in closing:
            count, size = count - 1, size - _memory(one)
            yield Due(one, CloseReason.MEMORY)


def has_room(assembler: Assembler) -> bool:
    """Whether the partition's limits hold; where not, the next checkpoint should not wait."""
    limits = assembler.limits
    return len(assembler.open) <= limits.max_open and assembler.open_bytes <= limits.max_open_bytes


def _memory(trajectory: OpenTrajectory) -> int:
    return trajectory.size + (trajectory.marker.memory if trajectory.marker else 0)


def _reason(trajectory: OpenTrajectory) -> CloseReason:
    if trajectory.limit is not None:
        return trajectory.limit
    if trajectory.ended:
        return CloseReason.COMPLETED
    if _brought_only_outcomes(trajectory) and trajectory.marker is not None:
        return trajectory.marker.close_reason
    return CloseReason.IDLE


def collect(
    assembler: Assembler, closing: list[Due], bases: Mapping[str, Base | None], rules: RoutingRules
) -> Checkpoint:
    """Take everything since the last checkpoint; `bases` has what was read back, by trajectory id."""
    state: list[Record] = []
    closed: list[tuple[Closed, Routing | None]] = []
    reports = _memory_report(assembler, closing)
    gone, early = _evict(assembler)
    state += [(marker_key(marker.trajectory_id), None) for marker in gone]
    if early:
        reports.append(_report(assembler, PipelineEventKind.MARKERS_EVICTED, early))
    for trajectory, reason in closing:
        state += tombstones(trajectory)
        _forget(assembler, trajectory)
        if not trajectory.steps and trajectory.marker is None:
            continue  # it held outcomes only, which are on `outcomes`
        base = _base(trajectory, bases)
        if trajectory.marker is not None and base is None:
            reports.append(_report(assembler, PipelineEventKind.CONTENT_LOST, 1, trajectory.trajectory_id))
            if not trajectory.steps:
                state.append(_mark_again(assembler, trajectory.marker))
                continue
        revision = close(trajectory, reason, assembler.clock.time_ms, base)
        closed.append((revision, route(revision.facts, rules, assembler.spent, assembler.partitions)))
        _mark(assembler, revision.marker)
    state += _segments(assembler)
    pending, assembler.pending = assembler.pending, Pending()
    told = _tell(assembler, pending.forwards)
    reports += pending.reports
    forget_old_hours(assembler.spent, assembler.clock.time_ms)
    return Checkpoint(
        closed,
        pending.dead_letters,
        pending.forwards,
        told,
        pending.outcomes,
        reports,
        state,
        _source(assembler),
        pending.events,
    )


def _base(trajectory: OpenTrajectory, bases: Mapping[str, Base | None]) -> Base | None:
    """Return the revision before, if what was read back is that."""
    base, marker = bases.get(trajectory.trajectory_id), trajectory.marker
    if base is None or marker is None:
        return None
    return base if base.identity == (marker.trajectory_id, marker.opened_ms, marker.revision) else None


def _forget(assembler: Assembler, trajectory: OpenTrajectory) -> None:
    trajectory_id = trajectory.trajectory_id
    del assembler.open[trajectory_id]
    assembler.open_bytes -= _memory(trajectory)
    for index in (assembler.dirty, assembler.soon, assembler.by_age):
        index.pop(trajectory_id, None)


def _mark(assembler: Assembler, marker: Marker) -> None:
    assembler.markers[marker.trajectory_id] = marker
    assembler.marker_bytes += marker.memory


def _mark_again(assembler: Assembler, marker: Marker) -> Record:
    """Keep the marker of a trajectory that could not be reopened, as closed now."""
    marker = marker._replace(closed_ms=assembler.clock.time_ms)
    _mark(assembler, marker)
    return marker_key(marker.trajectory_id), marker.encode()


def _segments(assembler: Assembler) -> list[Record]:
    records = []
    for trajectory_id in assembler.dirty:
        trajectory = assembler.open[trajectory_id]
        records.append(segment_record(trajectory))
        trajectory.segments += 1
        trajectory.fresh = []
    assembler.dirty = {}
    return records


def _evict(assembler: Assembler) -> tuple[list[Marker], int]:
    """Drop markers past the late window, and the oldest beyond the room; return them, and how many left early."""
    gone, early = [], 0
    for marker in assembler.markers.values():
        is_past = assembler.is_past(marker)
        fits = assembler.marker_bytes <= assembler.limits.max_marker_bytes
        if not is_past and (fits or assembler.is_just_opened(marker)):
            break
        gone.append(marker)
        early += not is_past
        assembler.marker_bytes -= marker.memory
    for marker in gone:
        del assembler.markers[marker.trajectory_id]
    return gone, early


def _tell(assembler: Assembler, forwards: list[Forward]) -> list[int]:
    """Take note of whom this checkpoint tells the time, and return those to whom it forwards nothing."""
    forwarded = {one.partition for one in forwards}
    told = [home for home in to_be_told(assembler) if home not in forwarded]
    now_ms, idle_ms = assembler.clock.watched_ms, assembler.limits.idle_ms
    assembler.relays = relays_after(assembler.relays, now_ms, idle_ms, forwarded, told)
    return told


def _source(assembler: Assembler) -> Source:
    assert assembler.next_offset is not None
    return Source(
        offset=assembler.next_offset,
        partitions=assembler.partitions,
        time_ms=assembler.clock.time_ms,
        skipped_ms=assembler.clock.skipped_ms,
        spent=[(system, hour, count) for (system, hour), count in assembler.spent.items()],
        relays=assembler.relays,
        elsewhere=assembler.elsewhere,
    )


def _memory_report(assembler: Assembler, closing: list[Due]) -> list[PipelineEvent]:
    count = sum(one.reason is CloseReason.MEMORY and one.trajectory.limit is None for one in closing)
    return [_report(assembler, PipelineEventKind.MEMORY_CLOSED, count)] if count else []


def _report(assembler: Assembler, kind: PipelineEventKind, count: int, *more: str) -> PipelineEvent:
    return PipelineEvent(
        pipeline_event_id=pipeline_id(kind, assembler.partition, assembler.next_offset, assembler.clock.time_ms, *more),
        kind=kind,
        topic=TopicName.STEP_EVENTS,
        partition=assembler.partition,
        count=count,
        at=assembler.clock.now(),
    )


def committed(assembler: Assembler, checkpoint: Checkpoint, places: list[int]) -> None:
    """Note where the closed trajectories stand, in markers and in what was reopened meanwhile."""
    for (one, _), place in zip(checkpoint.closed, places, strict=True):
        marker = assembler.markers.get(one.trajectory_id)
        if marker is not None and marker.revision == one.marker.revision and marker.opened_ms == one.marker.opened_ms:
            assembler.markers[one.trajectory_id] = marker._replace(place=place)
            continue
        reopened = assembler.open.get(one.trajectory_id)
        if reopened is not None and reopened.marker is not None and reopened.marker.place is None:
            reopened.marker = reopened.marker._replace(place=place)


def restore(assembler: Assembler, state: Restored) -> None:
    """Take over a partition from its state; raises StateError where it is not this topic's."""
    source = state.source
    if source is None:
        if state.segments or state.markers:
            raise StateError("the assembler's state has no source offset; was assembler-state's partition cut?")
        return
    if source.partitions != assembler.partitions:
        raise PartitionCountError(
            f"step-events has {assembler.partitions} partitions, the state was written for {source.partitions}; "
            "trajectories would change homes: restore the old number, or drain and start with a new assembler-state"
        )
    assembler.next_offset = source.offset
    assembler.clock.time_ms, assembler.clock.skipped_ms = source.time_ms, source.skipped_ms
    assembler.spent = {(system, hour): count for system, hour, count in source.spent}
    assembler.relays, assembler.elsewhere = dict(source.relays), dict(source.elsewhere)
    for marker in sorted(state.markers, key=lambda marker: (marker.closed_ms, marker.place or 0)):
        _mark(assembler, marker)
    for trajectory in sorted(_reopened(assembler, state.segments), key=lambda one: one.last_ms):
        assembler.open[trajectory.trajectory_id] = trajectory
        assembler.open_bytes += _memory(trajectory)
        if trajectory.ended or trajectory.marker is not None or trajectory.limit is not None:
            assembler.soon[trajectory.trajectory_id] = None
    fresh = sorted((one for one in assembler.open.values() if one.marker is None), key=lambda one: one.opened_ms)
    assembler.by_age = dict.fromkeys(one.trajectory_id for one in fresh)


def _reopened(assembler: Assembler, segments: list[Segment]) -> list[OpenTrajectory]:
    found: dict[str, OpenTrajectory] = {}
    for segment in sorted(segments, key=lambda one: (one.trajectory_id, one.number)):
        trajectory = found.get(segment.trajectory_id)
        if trajectory is None:
            marker = assembler.markers.pop(segment.trajectory_id, None)
            trajectory = OpenTrajectory(segment.trajectory_id, segment.opened_ms, segment.last_ms, marker)
            if marker is not None:
                assembler.marker_bytes -= marker.memory
                trajectory.ended = marker.ended
                trajectory.limit = marker.close_reason if marker.close_reason.is_limit else None
            found[segment.trajectory_id] = trajectory
        for raw in segment.events:
            line = read_line(raw)
            if not isinstance(line, Line):
                raise StateError(
                    f"the state of {segment.trajectory_id!r} holds an event that can't be read: {line.message}"
                )
            trajectory.add(line.event, raw)
        trajectory.last_ms, trajectory.segments = segment.last_ms, segment.number + 1
        trajectory.via = segment.via
        trajectory.fresh = []
    return list(found.values())
