"""What the command line reads of the store: verdicts, trajectories, dead letters, counts.

Rules: reads go through the views, which show every row once however often it was stored (`counts` alone looks below
them, to say how often); values are always bound, never written into the text.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas import DeadLetter, DeadLetterReason, PipelineEventKind
from schemas.errors import AgentracerError, StateError, StoreUnavailableError
from streams.migrate import Client
from streams.rows import milliseconds
from streams.sink import connect as connect_store

IDS_A_QUERY = 500
"""Bound values travel in the URL, which has a limit."""
IDENTITIES = {
    "trajectories": "trajectory_id, opened_at",
    "steps": "trajectory_id, opened_at, event_id",
    "outcomes": "trajectory_id, event_id",
    "verdicts": "trajectory_id, opened_at, revision",
    "verdicts_all": "trajectory_id, opened_at, revision, purpose, tracer, tracer_version",
    "labels": "label_id",
    "dead_letters": "topic, partition, offset, line",
    "pipeline_events": "pipeline_event_id",
}
"""Every view, and what tells its rows apart."""
_NOT_MIGRATED = (60, 81)
"""ClickHouse's codes for a table and a database that are not there."""
_WRITTEN = {"length": "length(ifNull(value, '')) AS length"}
_BELOW = {"verdicts": "standing_verdicts_raw", "verdicts_all": "verdicts_raw"}


class VerdictLine(NamedTuple):
    """A standing verdict."""

    trajectory_id: str
    opened_at: datetime
    revision: int
    tenant: str
    system: str
    task_id: str | None
    status: str
    agent: str | None
    step_index: int | None
    event_id: str | None
    failure_class: str
    confidence: float | None
    reason: str | None
    route_reason: str | None
    tracer: str
    tracer_version: str
    decided_at: datetime


class StepLine(NamedTuple):
    """A step, as it stands in the latest revision."""

    position: int
    event_id: str
    agent: str
    kind: str
    content: str
    tool_name: str | None
    tool_arguments: str | None
    tool_result: str | None
    tool_error: str | None
    error_type: str | None
    started_at: datetime
    ended_at: datetime | None
    agent_version: str | None
    agent_role: str | None
    input: str | None


class TrajectoryLine(NamedTuple):
    """The latest revision of a run."""

    trajectory_id: str
    opened_at: datetime
    revision: int
    tenant: str
    system: str
    task_id: str | None
    task: str | None
    result: str | None
    score: float | None
    outcome_reason: str | None
    close_reason: str
    closed_at: datetime
    step_count: int
    gap_count: int
    system_version: str | None = None
    ground_truth: str | None = None
    route_reason: str | None = None
    """Why it was traced; None: it was not."""


class Run(NamedTuple):
    """A run with its steps in order and the verdict that stands for this revision, if there is one."""

    trajectory: TrajectoryLine
    steps: list[StepLine]
    verdict: VerdictLine | None


class DeadLetterLine(NamedTuple):
    """A dead letter without its bytes."""

    topic: str
    partition: int
    offset: int
    line: int
    reason: str
    message: str
    stage: str
    at: datetime
    length: int
    """Bytes of its value."""

    @property
    def address(self) -> str:
        """`topic/partition/offset/line`, as the command line takes it."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.line}"


class Count(NamedTuple):
    """How many rows a view shows, how many are stored below it, and how many identities the view shows twice."""

    rows: int
    stored: int
    duplicates: int


@contextmanager
def connect(url: str, *, within_s: float = 10.0) -> Iterator[Client]:
    """Connect to the database that a ClickHouse URL names; it need not be there yet.

    Raises StoreUnavailableError when nothing answers in time, SettingsError when the user is refused, StateError when
    what is asked for was never made.
    """
    store = connect_store(url, within_s=within_s)
    try:
        yield store.client
    except ClickHouseError as error:
        raise _in_our_words(error) from error
    finally:
        store.close()


def _in_our_words(error: ClickHouseError) -> AgentracerError:
    code = getattr(error, "code", None)
    if code in _NOT_MIGRATED:
        return StateError("the store has none of this product's tables, or not all; run `agentracer migrate`")
    return StoreUnavailableError(f"the store failed: {str(error).splitlines()[0][:300]}")


def verdicts(
    client: Client,
    *,
    since: datetime | None = None,
    system: str | None = None,
    agent: str | None = None,
    limit: int = 100,
) -> list[VerdictLine]:
    """Return the standing verdicts decided since then, the newest first."""
    where = _Where()
    where.and_if("decided_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')", since=_ms(since))
    where.and_if("system = {system:String}", system=system)
    where.and_if("agent = {agent:String}", agent=agent)
    return _verdicts(
        client, f"{where.text} ORDER BY decided_at DESC, verdict_id LIMIT {{limit:UInt64}}", **where.values, limit=limit
    )


def trajectory(client: Client, trajectory_id: str, opened_at: datetime | None = None) -> Run | None:
    """Return a run by its id, the one opened last unless `opened_at` names another; None when there is none."""
    where = _Where("trajectory_id = {id:String}", id=trajectory_id)
    where.and_if("opened_at = fromUnixTimestamp64Milli({opened:Int64}, 'UTC')", opened=_ms(opened_at))
    found = _rows(
        client, TrajectoryLine, "trajectories", f"{where.text} ORDER BY opened_at DESC LIMIT 1", **where.values
    )
    if not found:
        return None
    run = TrajectoryLine(*found[0])
    this = "trajectory_id = {id:String} AND opened_at = fromUnixTimestamp64Milli({opened:Int64}, 'UTC')"
    values = {"id": run.trajectory_id, "opened": _ms(run.opened_at)}
    steps = _rows(client, StepLine, "steps", f"{this} ORDER BY position, revision", **values)
    standing = _verdicts(client, f"{this} AND revision = {{revision:UInt32}}", **values, revision=run.revision)
    return Run(run, [StepLine(*step) for step in steps], standing[0] if standing else None)


def counts(client: Client) -> dict[str, Count]:
    """Count every view's rows, the rows stored below it, and the identities it shows twice."""
    return {view: _count(client, view, identity) for view, identity in IDENTITIES.items()}


def step_ids(client: Client, trajectory_ids: Iterable[str] | None = None) -> set[tuple[str, str]]:
    """Return (trajectory id, event id) of every step, or of those of some trajectories."""
    query = "SELECT trajectory_id, event_id FROM steps"
    if trajectory_ids is None:
        return set(_pairs(client, query))
    wanted = sorted(set(trajectory_ids))
    parts = (wanted[start : start + IDS_A_QUERY] for start in range(0, len(wanted), IDS_A_QUERY))
    return {
        pair
        for part in parts
        for pair in _pairs(client, f"{query} WHERE trajectory_id IN {{ids:Array(String)}}", ids=part)
    }


def dead_letters(
    client: Client,
    *,
    since: datetime | None = None,
    reason: DeadLetterReason | None = None,
    topic: str | None = None,
    limit: int = 100,
) -> list[DeadLetterLine]:
    """Return dead letters without their bytes, the newest first."""
    where = _Where()
    where.and_if("at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')", since=_ms(since))
    where.and_if("reason = {reason:String}", reason=reason.value if reason else None)
    where.and_if("topic = {topic:String}", topic=topic)
    order = "ORDER BY at DESC, topic, partition, offset, line LIMIT {limit:UInt64}"
    found = _rows(client, DeadLetterLine, "dead_letters", f"{where.text} {order}", **where.values, limit=limit)
    return [DeadLetterLine(*row) for row in found]


def dead_letter(client: Client, topic: str, partition: int, offset: int, line: int = 0) -> DeadLetter | None:
    """Return one dead letter with its bytes as they came; None when there is none at this address."""
    found = client.query(
        "SELECT reason, message, stage, key, value, at FROM dead_letters WHERE topic = {topic:String} "
        "AND partition = {partition:UInt32} AND offset = {offset:Int64} AND line = {line:UInt32}",
        {"topic": topic, "partition": partition, "offset": offset, "line": line},
        column_formats={"key": "bytes", "value": "bytes"},
    ).result_rows
    if not found:
        return None
    reason, message, stage, key, value, at = found[0]
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        line=line,
        reason=DeadLetterReason(reason),
        message=message,
        stage=stage,
        key=key,
        value=value,
        at=at,
    )


def was_redriven(client: Client, address: str) -> bool:
    """Whether the dead letter at an address was sent back to its topic before."""
    found = client.query(
        "SELECT count() FROM pipeline_events WHERE kind = {kind:String} "
        "AND JSONExtractString(detail, 'address') = {address:String}",
        {"kind": PipelineEventKind.REDRIVEN.value, "address": address},
    ).result_rows
    return bool(found[0][0])


class _Where:
    """Conditions joined by AND, and the values bound in them."""

    def __init__(self, text: str = "1", **values: Any) -> None:
        self.text = text
        self.values = values

    def and_if(self, condition: str, **values: Any) -> None:
        """Add a condition, unless its values are None."""
        if None not in values.values():
            self.text += f" AND {condition}"
            self.values |= values


def _verdicts(client: Client, where: str, **values: Any) -> list[VerdictLine]:
    return [VerdictLine(*row) for row in _rows(client, VerdictLine, "verdicts", where, **values)]


def _rows(client: Client, line: type[Any], view: str, where: str, **values: Any) -> Sequence[Sequence[Any]]:
    """Read a line's fields of a view; `where` may go on with ORDER BY and LIMIT."""
    query = f"SELECT {', '.join(_WRITTEN.get(name, name) for name in line._fields)} FROM {view} WHERE {where}"  # noqa: S608 - words of ours
    return client.query(query, values).result_rows


def _pairs(client: Client, query: str, **values: Any) -> Iterator[tuple[str, str]]:
    return ((str(first), str(second)) for first, second in client.query(query, values).result_rows)


def _count(client: Client, view: str, identity: str) -> Count:
    shown = f"SELECT sum(times), countIf(times > 1) FROM (SELECT count() AS times FROM {view} GROUP BY {identity})"  # noqa: S608
    rows, duplicates = client.query(shown).result_rows[0]
    stored = client.query(f"SELECT count() FROM {_BELOW.get(view, f'{view}_raw')}").result_rows[0][0]  # noqa: S608
    return Count(int(rows), int(stored), int(duplicates))


def _ms(time: datetime | None) -> int | None:
    return None if time is None else milliseconds(time)
