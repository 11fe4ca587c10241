"""How far the pipeline is with what was sent: the sender's ledger held against the store.

Rules: an acknowledged step is stored, or a dead letter, or lost; a step that stands twice is a duplicate, also when it
stands in two runs of its id; an outcome has arrived when one at least as late stands, or when it is a dead letter, or
lies alone where no step of its trajectory was sent; a run is done when all that is in and, if it is traced, its latest
revision has a verdict.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ops.query import IDS_A_QUERY
from ops.send import EventId, Ledger
from schemas import RouteReason
from schemas.wire import Line, read_line
from streams.migrate import Client

_RUNS = """
SELECT t.trajectory_id, toUnixTimestamp64Milli(t.opened_at), t.revision, t.step_count, t.result, t.route_reason,
       v.status, v.agent, v.step_index, toUnixTimestamp64Milli(t.outcome_at)
FROM trajectories AS t
LEFT JOIN (SELECT trajectory_id, opened_at, revision, status, agent, step_index FROM verdicts
           WHERE trajectory_id IN {ids:Array(String)}) AS v
ON t.trajectory_id = v.trajectory_id AND t.opened_at = v.opened_at AND t.revision = v.revision
WHERE t.trajectory_id IN {ids:Array(String)}
"""
_STEPS = """
SELECT trajectory_id, event_id, count() FROM steps WHERE trajectory_id IN {ids:Array(String)}
GROUP BY trajectory_id, event_id
"""
_LONE_OUTCOMES = "SELECT trajectory_id, event_id FROM outcomes WHERE trajectory_id IN {ids:Array(String)}"
_ADDRESS = "concat(topic, '/', toString(partition), '/', toString(offset), '/', toString(line))"
_LETTERS = f"SELECT {_ADDRESS} AS address, value FROM dead_letters"  # noqa: S608 - words of ours
_OF_TRAJECTORIES = f"{_LETTERS} WHERE key IN {{ids:Array(String)}}"
_AT_ADDRESSES = f"{_LETTERS} WHERE address IN {{ids:Array(String)}}"


class RunState(NamedTuple):
    """The latest revision of a run in the store, and its verdict."""

    trajectory_id: str
    opened_ms: int
    revision: int
    step_count: int
    result: str | None
    route_reason: str | None
    status: str | None
    agent: str | None
    step_index: int | None
    outcome_ms: int | None

    @property
    def is_traced(self) -> bool:
        """Whether it was routed to the tracer."""
        return bool(self.route_reason)

    @property
    def is_failure(self) -> bool:
        """Whether it was routed as a failure."""
        return self.is_traced and self.route_reason != RouteReason.SAMPLED


class Progress(NamedTuple):
    """What the store holds of a ledger."""

    runs: tuple[RunState, ...]
    stored: int
    """Acknowledged steps that are in the store."""
    refused: int
    """Dead letters among what was acknowledged, by trajectory or address."""
    missing: frozenset[EventId]
    """Acknowledged and nowhere; what is no event stands here with its address."""
    duplicates: int

    @property
    def verdicts(self) -> int:
        """Traced runs whose latest revision has a verdict."""
        return sum(bool(run.status) for run in self.runs if run.is_traced)

    @property
    def traced(self) -> int:
        """Runs that were routed to the tracer."""
        return sum(run.is_traced for run in self.runs)

    @property
    def failed(self) -> int:
        """Runs that were routed as failures."""
        return sum(run.is_failure for run in self.runs)

    @property
    def is_done(self) -> bool:
        """Whether nothing is on its way any more."""
        return not self.missing and self.verdicts == self.traced


def look(client: Client, ledger: Ledger, decided: Mapping[EventId, int] | None = None) -> Progress:
    """Hold the ledger against the store; `decided` has the times, in ms, of those outcomes that are followed too."""
    steps, outcomes = set(ledger.steps), ledger.outcomes & set(decided or {})
    ids = sorted({trajectory_id for trajectory_id, _ in steps | outcomes})
    runs = tuple(RunState(*row) for row in _asked(client, _RUNS, ids))
    stored = {(one, event): count for one, event, count in _asked(client, _STEPS, ids)}
    letters = _letters(client, _OF_TRAJECTORIES, ids) | _letters(client, _AT_ADDRESSES, ledger.unreadable)
    lettered = set(_event_ids(letters.values()))
    missing = steps - stored.keys() - lettered
    missing |= _not_standing(outcomes, decided or {}, runs) - lettered - _alone(client, steps - lettered, outcomes)
    missing |= {("", address) for address in ledger.unreadable if address not in letters}
    return Progress(
        runs,
        len(steps & stored.keys()),
        len(letters),
        frozenset(missing),
        sum(count > 1 for count in stored.values()),
    )


def _not_standing(outcomes: set[EventId], decided: Mapping[EventId, int], runs: Iterable[RunState]) -> set[EventId]:
    """Return the outcomes that are later than what stands."""
    latest: dict[str, int] = {}
    for run in runs:
        if run.outcome_ms is not None:
            latest[run.trajectory_id] = max(run.outcome_ms, latest.get(run.trajectory_id, run.outcome_ms))
    return {one for one in outcomes if one[0] not in latest or latest[one[0]] < decided[one]}


def _alone(client: Client, steps: set[EventId], outcomes: set[EventId]) -> set[EventId]:
    """Return the outcomes that are stored by themselves and have no steps to stand with."""
    lone = {trajectory_id for trajectory_id, _ in outcomes} - {trajectory_id for trajectory_id, _ in steps}
    return {(one, event) for one, event in _asked(client, _LONE_OUTCOMES, sorted(lone))}


def _asked(client: Client, query: str, ids: list[str]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(ids), IDS_A_QUERY):
        yield from client.query(query, {"ids": ids[start : start + IDS_A_QUERY]}).result_rows


def _letters(client: Client, query: str, ids: list[str]) -> dict[str, bytes | None]:
    """Return dead letters' values by address."""
    parts = (ids[start : start + IDS_A_QUERY] for start in range(0, len(ids), IDS_A_QUERY))
    answers = (client.query(query, {"ids": part}, column_formats={"value": "bytes"}) for part in parts)
    return {str(address): value for answer in answers for address, value in answer.result_rows}


def _event_ids(values: Iterable[bytes | None]) -> Iterator[EventId]:
    for value in values:
        line = read_line(value) if value else None
        if isinstance(line, Line):
            yield line.event.trajectory_id, line.event.event_id


def done_before(client: Client, steps: Iterable[EventId]) -> set[str]:
    """Return the trajectories of these steps that the store holds whole, with their verdict."""
    ledger = Ledger(steps=dict.fromkeys(steps, 0))
    progress = look(client, ledger)
    incomplete = {trajectory_id for trajectory_id, _ in progress.missing}
    unjudged = {run.trajectory_id for run in progress.runs if run.is_traced and not run.status}
    return {run.trajectory_id for run in progress.runs} - incomplete - unjudged


def lettered_before(client: Client) -> dict[bytes, list[str]]:
    """Return the addresses of all dead letters, by their bytes."""
    found: dict[bytes, list[str]] = {}
    for address, value in client.query(_LETTERS, column_formats={"value": "bytes"}).result_rows:
        found.setdefault(bytes(value or b""), []).append(str(address))
    return found
