"""A database of a test's own in the embedded store, migrated, and rows put into it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

from schemas import Trajectory, Verdict, VerdictPurpose
from streams import tables
from streams.migrate import Retention, migrate
from streams.rows import Place, Row, step_rows, trajectory_row, verdict_row
from streams.sink import Store, connect
from streams.tables import Table

LONG = Retention(10_000, 10_000)
"""Rows from factories are of a fixed day: no retention may take them away."""
PLACE = Place(0, 0, 1_772_366_400_000)


@contextmanager
def own_store(url: str) -> Iterator[Store]:
    """Give a store with a migrated database of its own, dropped afterwards."""
    store = connect(f"{url}/test_{uuid4().hex}")
    try:
        migrate(store.client, store.database, retention=LONG)
        for table in tables.TABLES:  # what is put twice stays there twice
            store.client.command(f"SYSTEM STOP MERGES {table.name}")
        yield store
    finally:
        store.client.command(f"DROP DATABASE IF EXISTS {store.database}")
        store.close()


def emptied(store: Store) -> Store:
    """Take all rows out of a database that several tests share."""
    for table in tables.TABLES:
        store.client.command(f"TRUNCATE TABLE {table.name}")
    return store


def put(store: Store, table: Table, *rows: Row, times: int = 1) -> None:
    """Insert rows, each insert a part of its own; with `times` all of it again."""
    for _ in range(times):
        for row in rows:
            assert store.insert(table, [row], uuid4().hex) == []


def put_trajectory(store: Store, of: Trajectory, *, times: int = 1) -> None:
    """Insert a revision and its steps."""
    put(store, tables.STEPS, *step_rows(of), times=times)
    put(store, tables.TRAJECTORIES, trajectory_row(of, PLACE), times=times)


def put_verdict(store: Store, of: Verdict, offset: int, *, times: int = 1) -> None:
    """Insert a verdict that stands at an offset of `verdicts`."""
    row = verdict_row(of, PLACE._replace(offset=offset))
    put(store, tables.VERDICTS, row, times=times)
    if of.purpose is VerdictPurpose.SERVE:
        put(store, tables.STANDING_VERDICTS, row, times=times)


def rows(store: Store, query: str) -> Sequence[Sequence[object]]:
    """Run a query of a test."""
    found: Sequence[Sequence[object]] = store.client.query(query).result_rows
    return found
