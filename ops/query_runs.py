"""What the command line reads of many runs at a time: failures of a range, what they and past verdicts cost, a task.

Rules: as in `ops/query.py`: reads go through the views, and values are always bound; the order of every answer is
fixed, so the same store answers the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from ops.query import IDS_A_QUERY
from streams.migrate import Client
from streams.rows import milliseconds

PAST_VERDICTS = 1_000
"""What a tracer costs is judged by so many of its verdicts, the latest."""
RunId = tuple[str, datetime]
"""Trajectory id and when it was opened."""

_BYTES = " + ".join(
    ("length(content)", *(f"length(ifNull({one}, ''))" for one in ("input", "tool_arguments", "tool_result")))
)
_SIZE = f"sum({_BYTES} + length(ifNull(tool_error, '')))"
_IS_FAILURE = "ifNull(route_reason, 'sampled') != 'sampled'"
_OF_SYSTEM = "({system:String} = '' OR system = {system:String})"
_SINCE = "closed_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')"
_FAILURES = f"""
SELECT trajectory_id, opened_at, step_count,
       (trajectory_id, opened_at, revision) IN (
           SELECT trajectory_id, opened_at, revision FROM verdicts_all
           WHERE purpose = 'retrace' AND tracer = {{tracer:String}} AND tracer_version = {{version:String}})
FROM trajectories
WHERE {_IS_FAILURE} AND {_SINCE} AND closed_at < fromUnixTimestamp64Milli({{until:Int64}}, 'UTC') AND {_OF_SYSTEM}
ORDER BY closed_at DESC, trajectory_id, opened_at
"""  # noqa: S608 - words of ours
_SIZES = f"""
SELECT trajectory_id, opened_at, {_SIZE} FROM steps WHERE trajectory_id IN {{ids:Array(String)}}
GROUP BY trajectory_id, opened_at
"""  # noqa: S608
_LATEST_VERDICTS = """
SELECT trajectory_id, opened_at, traced_ms, input_tokens, cached_tokens, output_tokens FROM verdicts_all
WHERE tracer = {tracer:String} AND attempts > 0 AND status != 'shed'
ORDER BY decided_at DESC, trajectory_id, opened_at, revision, purpose, tracer_version LIMIT {limit:UInt64}
"""
_TASK = f"""
SELECT s.trajectory_id, s.opened_at, r.tenant, r.system, r.is_failed, r.is_passed,
       s.position, s.event_id, s.agent, s.kind, s.tool_name, s.tool_error IS NOT NULL, s.error_type
FROM steps AS s
INNER JOIN (
    SELECT trajectory_id, opened_at, tenant, system, closed_at,
           {_IS_FAILURE} OR ifNull(result, '') = 'failure' AS is_failed,
           NOT is_failed AND ifNull(result, '') = 'success' AS is_passed
    FROM trajectories WHERE task_id = {{task:String}} AND {_SINCE} AND {_OF_SYSTEM}
    ORDER BY closed_at DESC, trajectory_id, opened_at LIMIT {{limit:UInt64}}
) AS r ON s.trajectory_id = r.trajectory_id AND s.opened_at = r.opened_at
ORDER BY r.closed_at DESC, s.trajectory_id, s.opened_at, s.position
"""  # noqa: S608


class Range(NamedTuple):
    """Which runs: those whose latest revision was closed from `since` on and before `until`, in partition time."""

    since: datetime
    until: datetime
    system: str | None = None


class Failure(NamedTuple):
    """A run that was routed as a failure."""

    trajectory_id: str
    opened_at: datetime
    step_count: int
    is_retraced: bool
    """Whether its latest revision has a verdict of this tracer, in this version, made by tracing it again."""

    @property
    def id(self) -> RunId:
        """What tells it apart."""
        return self.trajectory_id, self.opened_at


class Past(NamedTuple):
    """What one verdict took, and how long the text was that it is about."""

    traced_ms: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    text_bytes: int
    """0 where the steps are not in the store any more."""


class TaskStep(NamedTuple):
    """A step of one of the runs of a task, as far as two runs can be compared."""

    trajectory_id: str
    opened_at: datetime
    tenant: str
    system: str
    is_failed: bool
    is_passed: bool
    position: int
    event_id: str
    agent: str
    kind: str
    tool_name: str | None
    has_tool_error: bool
    error_type: str | None


def failures(client: Client, within: Range, tracer: str, version: str) -> list[Failure]:
    """Return the failed runs of a range, the last closed first."""
    values = {
        "since": milliseconds(within.since),
        "until": milliseconds(within.until),
        "system": within.system or "",
        "tracer": tracer,
        "version": version,
    }
    found = client.query(_FAILURES, values).result_rows
    return [Failure(*row)._replace(is_retraced=bool(row[-1])) for row in found]


def text_bytes(client: Client, runs: Iterable[RunId]) -> dict[RunId, int]:
    """Return how many bytes of text the steps of each run have; a run whose steps are gone is left out."""
    wanted = set(runs)
    ids = sorted({trajectory_id for trajectory_id, _ in wanted})
    found = (row for part in _parts(ids) for row in client.query(_SIZES, {"ids": part}).result_rows)
    sizes = {(str(trajectory_id), opened_at): int(size) for trajectory_id, opened_at, size in found}
    return {one: sizes[one] for one in sorted(wanted & sizes.keys())}


def past_verdicts(client: Client, tracer: str) -> list[Past]:
    """Return what the latest verdicts of a tracer took, in whichever version; shed ones took nothing."""
    rows = client.query(_LATEST_VERDICTS, {"tracer": tracer, "limit": PAST_VERDICTS}).result_rows
    sizes = text_bytes(client, ((row[0], row[1]) for row in rows))
    return [
        Past(ms, read, cached, written, sizes.get((name, opened), 0))
        for name, opened, ms, read, cached, written in rows
    ]


def task_steps(
    client: Client, task_id: str, *, since: datetime | None = None, system: str | None = None, limit: int = 1_000
) -> list[TaskStep]:
    """Return the steps of the runs of a task, of the last closed ones first."""
    values = {"task": task_id, "since": milliseconds(since) if since else 0, "system": system or "", "limit": limit}
    return [TaskStep(*row) for row in client.query(_TASK, values).result_rows]


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + IDS_A_QUERY] for start in range(0, len(ids), IDS_A_QUERY))
