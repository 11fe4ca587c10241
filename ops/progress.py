"""How far the pipeline is with what was sent: the sender's ledger held against the store.

Rules: an acknowledged step is stored, or a dead letter, or lost; a step that stands in two rows of a run is a
duplicate; a run is done when all its steps are in and, if it is traced, its latest revision has a verdict.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ops.query import IDS_A_QUERY
from ops.send import EventId, Ledger
from schemas import RouteReason
from schemas.wire import Line, read_line
from streams.migrate import Client

_RUNS = """
SELECT t.trajectory_id, toUnixTimestamp64Milli(t.opened_at), t.revision, t.step_count, t.result, t.route_reason,
       v.status, v.agent, v.step_index
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
_LETTERS = """
SELECT concat(topic, '/', toString(partition), '/', toString(offset), '/', toString(line)), value FROM dead_letters
"""


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
    """Acknowledged events that are dead letters."""
    missing: frozenset[EventId]
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


def look(client: Client, ledger: Ledger) -> Progress:
    """Hold the ledger against the store."""
    expected = set(ledger.steps)
    ids = sorted({trajectory_id for trajectory_id, _ in expected})
    stored = {(one, event): count for one, event, count in _asked(client, _STEPS, ids)}
    letters = {
        str(address): value for address, value in client.query(_LETTERS, column_formats={"value": "bytes"}).result_rows
    }
    lettered = set(_event_ids(letters.values()))
    missing = expected - stored.keys() - lettered
    missing |= {("", address) for address in ledger.unreadable if address not in letters}
    return Progress(
        tuple(RunState(*row) for row in _asked(client, _RUNS, ids)),
        len(expected & stored.keys()),
        len(letters),
        frozenset(missing),
        sum(count > 1 for count in stored.values()),
    )


def _asked(client: Client, query: str, ids: list[str]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(ids), IDS_A_QUERY):
        yield from client.query(query, {"ids": ids[start : start + IDS_A_QUERY]}).result_rows


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
