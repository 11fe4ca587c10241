"""Every shipped query, on a store in which each row stands twice and nothing was merged: the answers are the same.

What reads the store is found rather than listed, so that a query added tomorrow is asked here or fails here: functions
that take a store's client, the views of the migrations, the commands that print what they read, and the dashboards.
"""

import ast
import importlib
import inspect
import json
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import ops
import streams
import tracer
import trainer
from ops import progress, query, query_runs, run
from ops.send import Ledger
from schemas import DeadLetterReason, PipelineEventKind, Result, RouteReason, Routing, Trajectory, VerdictPurpose
from streams import migrate, tables
from streams.rows import dead_letter_row, label_row, outcome_row, pipeline_event_row
from streams.sink import Store
from streams.tables import Table
from tests.factories import START, outcome, outcome_event, raw, step, trajectory, verdict
from tests.ops.processes import ROOT, json_of
from tests.stores import LONG, PLACE, own_store, put, put_trajectory, put_verdict
from tests.streams.test_rows import label, letter, report

DAY = timedelta(days=1)
EVER = query_runs.Range(START - 10 * DAY, START + 10 * DAY)
FAILURE = Routing(reason=RouteReason.FAILURE)
SQL_STANDS_IN = {"ops/doctor.py", "ops/progress.py", "ops/query.py", "ops/query_runs.py", "streams/migrate.py"}
"""What holds queries; `doctor` reads the store's clock alone, and no table."""
REDRIVEN = "step-events/1/7/2"
Ask = Callable[[Store], object]


def _steps(trajectory_id: str, count: int) -> Iterator[Any]:
    return (step(trajectory_id, index) for index in range(count))


def _run(trajectory_id: str, count: int, **fields: Any) -> Trajectory:
    return trajectory(list(_steps(trajectory_id, count)), **{"routing": FAILURE, "task_id": "buy"} | fields)


def _put_runs(store: Store) -> None:
    """Put an id that came back the next day, the second time with three revisions; two runs more, one of them fine."""
    again = [
        _run("again", 2),
        *(_run("again", 2 + number, opened_at=START + DAY, revision=number) for number in (3, 1, 2)),
    ]
    sampled = _run("fine", 2, outcome=outcome(Result.SUCCESS), routing=Routing(reason=RouteReason.SAMPLED))
    for number, of in enumerate([*again, sampled, _run("other", 4)]):
        put_trajectory(store, of)
        said = verdict(of, decided_at=START + number * DAY)
        late = said.model_copy(update={"agent": "late", "tracer_version": "2"})
        put_verdict(store, late, 10 * number + 3)
        put_verdict(store, said, 10 * number + 2)
        put_verdict(store, said.model_copy(update={"agent": "redelivered"}), 10 * number + 4)
        put_verdict(store, late.model_copy(update={"purpose": VerdictPurpose.RETRACE}), 10 * number + 5)
        put_verdict(store, said.model_copy(update={"purpose": VerdictPurpose.SHADOW}), 10 * number + 1)
    put_trajectory(store, _run("unjudged", 1))


def _put_others(store: Store) -> None:
    """Put outcomes, dead letters, reports and labels, some of which were written again later."""
    later = PLACE._replace(offset=9, timestamp_ms=PLACE.timestamp_ms + 36 * 3_600_000)
    for number, at in enumerate((PLACE, later)):
        for trajectory_id in ("again", "never-opened", "lone"):
            event = outcome_event(trajectory_id, event_id=f"o{number}")
            put(store, tables.OUTCOMES, outcome_row(event, at))
            put(store, tables.OUTCOMES, outcome_row(event, at._replace(timestamp_ms=at.timestamp_ms + 1)))
        for line in (2, 3):
            lost = raw(step("again", 90 + line))
            put(store, tables.DEAD_LETTERS, dead_letter_row(letter(line=line, key=b"again", value=lost), at))
            put(store, tables.DEAD_LETTERS, dead_letter_row(letter(line=line, topic="labels", value=None), at))
        put(store, tables.LABELS, label_row(label().model_copy(update={"agent": f"agent-{number}"}), at))
        put(store, tables.LABELS, label_row(label().model_copy(update={"label_id": f"l-{number}"}), at))
        redriven = {"kind": PipelineEventKind.REDRIVEN, "detail": {"address": REDRIVEN}, "pipeline_event_id": "r"}
        put(store, tables.PIPELINE_EVENTS, pipeline_event_row(report(), at))
        put(store, tables.PIPELINE_EVENTS, pipeline_event_row(report().model_copy(update=redriven), at))


@pytest.fixture(scope="module")
def store(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        _put_runs(store)
        _put_others(store)
        yield store


def _ledger() -> Ledger:
    sent = [*_steps("again", 5), *_steps("fine", 2), *_steps("other", 5), step("again", 92), step("unjudged", 0)]
    outcomes = {(one, f"o{number}") for one in ("again", "lone") for number in (0, 1)}
    ids = {(one.trajectory_id, one.event_id): 0 for one in sent}
    return Ledger(steps=ids, outcomes=outcomes, unreadable=["labels/1/7/3", "labels/1/7/4"])


def _look(store: Store) -> progress.Progress:
    """The runs come in no order that matters."""
    found = progress.look(store.client, _ledger(), dict.fromkeys(_ledger().outcomes, PLACE.timestamp_ms))
    return found._replace(runs=tuple(sorted(found.runs)))


def _counts(client: migrate.Client) -> object:
    """What is stored below a view is what is doubled here; the rest is an answer."""
    return {view: (one.rows, one.duplicates) for view, one in query.counts(client).items()}


ASKED: Mapping[str, Ask] = {
    "ops.query.verdicts": lambda store: [
        query.verdicts(store.client, **chosen)
        for chosen in ({}, {"since": START + DAY}, {"system": "shop", "limit": 3}, {"agent": "agent-1"}, {"limit": 1})
    ],
    "ops.query.trajectory": lambda store: [
        query.trajectory(store.client, one, opened)
        for one in ("again", "fine", "other", "unjudged", "nobody")
        for opened in (None, START)
    ],
    "ops.query.counts": lambda store: _counts(store.client),
    "ops.query.step_ids": lambda store: [query.step_ids(store.client, ids) for ids in (None, ["again", "fine"])],
    "ops.query.dead_letters": lambda store: [
        query.dead_letters(store.client, **chosen)
        for chosen in ({}, {"topic": "labels"}, {"reason": DeadLetterReason.NOT_JSON, "limit": 2}, {"since": START})
    ],
    "ops.query.dead_letter": lambda store: [
        query.dead_letter(store.client, "step-events", 1, 7, at) for at in (2, 3, 4)
    ],
    "ops.query.was_redriven": lambda store: [query.was_redriven(store.client, at) for at in (REDRIVEN, "labels/1/7/2")],
    "ops.query_runs.failures": lambda store: [
        query_runs.failures(store.client, within, tracer, version)
        for within in (EVER, EVER._replace(since=START + DAY), EVER._replace(system="shop"))
        for tracer, version in (("last_step", "2"), ("last_step", "1"), ("nobody", "1"))
    ],
    "ops.query_runs.text_bytes": lambda store: query_runs.text_bytes(
        store.client, [("again", START), ("again", START + DAY), ("other", START), ("nobody", START)]
    ),
    "ops.query_runs.past_verdicts": lambda store: query_runs.past_verdicts(store.client, "last_step"),
    "ops.query_runs.task_steps": lambda store: [
        query_runs.task_steps(store.client, "buy", **chosen)
        for chosen in ({}, {"since": START + DAY}, {"system": "shop"}, {"limit": 2})
    ],
    "ops.progress.look": _look,
    "ops.progress.done_before": lambda store: progress.done_before(store.client, _ledger().steps),
    "ops.progress.lettered_before": lambda store: {
        value: sorted(addresses) for value, addresses in progress.lettered_before(store.client).items()
    },
    "ops.run.standing": lambda store: run.standing(store.client, _look(store)),
    "streams.migrate.migrate": lambda store: migrate.migrate(store.client, store.database, retention=LONG),
    "streams.migrate.check_migrated": lambda store: migrate.check_migrated(store.client, store.database),
}
PRINTED = (
    ("verdicts",),
    ("verdicts", "--agent", "agent-1", "--limit", "2"),
    ("show", "again"),
    ("show", "again", "--opened-at", START.isoformat()),
    ("spectrum", "buy", "--least-passed", "1"),
    ("dead-letters", "list"),
    ("dead-letters", "list", "--reason", "not_json"),
    ("dead-letters", "show", REDRIVEN),
)


def _functions() -> set[str]:
    """Find the public functions that are handed a store's client."""
    found = set()
    for package in (ops, streams, tracer, trainer):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
                takes = [one.annotation for one in inspect.signature(value).parameters.values()]
                if value.__module__ == module.name and not name.startswith("_") and migrate.Client in takes:
                    found.add(f"{module.name}.{name}")
    return found


def _views(store: Store) -> list[str]:
    found = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View' ORDER BY name"
    return [str(name) for (name,) in store.client.query(found).result_rows]


def _base_tables(store: Store) -> list[str]:
    found = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine != 'View' ORDER BY name"
    return [str(name) for (name,) in store.client.query(found).result_rows]


def _panels() -> list[str]:
    """Return the queries of all dashboards."""
    queries: list[str] = []

    def keep(fields: dict[str, Any]) -> dict[str, Any]:
        queries.extend(value for name, value in fields.items() if name == "rawSql")
        return fields

    for file in sorted((ROOT / "ops/deploy/grafana/dashboards").glob("*.json")):
        json.loads(file.read_text(), object_hook=keep)
    return queries


def _rows(store: Store, sql: str) -> Counter[str]:
    """Return what a query answers, each row as often as it does."""
    return Counter(map(repr, store.client.query(sql).result_rows))


def _answers(store: Store) -> dict[str, object]:
    """Ask everything."""
    url = f"http://{store.address}/{store.database}"
    return {
        **{name: ask(store) for name, ask in ASKED.items()},
        **{view: _rows(store, f"SELECT * FROM {view}") for view in _views(store)},
        **{" ".join(words): json_of(*words, AGENTRACER_CLICKHOUSE_URL=url) for words in PRINTED},
        **{sql: _rows(store, sql) for sql in _panels()},
    }


def _stored(store: Store) -> dict[str, int]:
    return {name: _count(store, name) for name in _base_tables(store)}


def _count(store: Store, name: str) -> int:
    return int(store.client.query(f"SELECT count() FROM {name}").result_rows[0][0])


def _double(store: Store) -> None:
    """Insert every row of every base table a second time."""
    store.client.command("SYSTEM STOP MERGES schema_migrations")
    before = _stored(store)
    for name in before:
        # else a part that is there already is dropped, and rows of one identity are merged on their way
        settings = "insert_deduplicate = 0, optimize_on_insert = 0"
        store.client.command(f"INSERT INTO {name} SETTINGS {settings} SELECT * FROM {name}")
    assert _stored(store) == {name: 2 * count for name, count in before.items()}
    assert min(before.values()) > 0


def test_whatever_reads_the_store_is_asked_here() -> None:
    assert _functions() == set(ASKED)


def test_no_query_stands_anywhere_else() -> None:
    files = (file for package in (ops, streams, tracer, trainer) for file in Path(package.__path__[0]).rglob("*.py"))
    found = {str(file.relative_to(ROOT)) for file in files if "embedded" not in file.parts and _holds_a_query(file)}
    assert found == SQL_STANDS_IN


def _holds_a_query(file: Path) -> bool:
    constants = (node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant))
    return any(isinstance(value, str) and value.lstrip().startswith("SELECT ") for value in constants)


def test_every_table_of_the_migrations_is_doubled_and_every_view_is_named(store: Store) -> None:
    ours: list[Table] = list(tables.TABLES)
    assert set(_base_tables(store)) == {*(table.name for table in ours), "schema_migrations"}
    assert set(_views(store)) == {*query.IDENTITIES, "outcomes_joined"}


def test_a_store_with_every_row_twice_answers_every_query_as_one_with_every_row_once(store: Store) -> None:
    once = _answers(store)
    _double(store)
    twice = _answers(store)
    for name, answer in once.items():
        assert twice[name] == answer, name
    _double(store)
    assert _answers(store) == once


def test_the_answers_are_worth_comparing(store: Store) -> None:
    answers = _answers(store)
    silent = {"streams.migrate.migrate", "streams.migrate.check_migrated"}  # they answer that nothing is to be done
    assert {name for name, answer in answers.items() if not answer} == silent
    found = answers["ops.progress.look"]
    assert isinstance(found, progress.Progress)
    assert (found.stored, found.refused, len(found.missing), found.duplicates) == (12, 3, 2, 2)


@pytest.mark.parametrize("view", ["steps", "verdicts", "dead_letters"])
def test_a_view_that_shows_stored_rows_would_be_found_out(store_url: str, view: str) -> None:
    with own_store(store_url) as store:
        _put_runs(store)
        _put_others(store)
        once = _rows(store, f"SELECT * FROM {view}")
        below = "standing_verdicts_raw" if view == "verdicts" else f"{view}_raw"
        store.client.command(f"CREATE OR REPLACE VIEW {view} AS SELECT * EXCEPT (version) FROM {below}")
        _double(store)
        assert _rows(store, f"SELECT * FROM {view}") != once
