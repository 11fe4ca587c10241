import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from schemas.errors import StateError
from streams.migrate import FOLDER, Client, Retention, check_migrated, migrate, read_migrations, statements
from streams.sink import Store, connect
from streams.tables import TABLES
from tests.stores import own_store, rows


@pytest.fixture(scope="module")
def migrated(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def empty(store_url: str) -> Iterator[Store]:
    store = connect(f"{store_url}/test_{uuid4().hex}")
    yield store
    store.client.database = None
    store.client.command(f"DROP DATABASE IF EXISTS {store.database}")
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_one.sql").write_text(
        "-- first;\nCREATE TABLE IF NOT EXISTS one (a Int8, version UInt64)\nENGINE = {engine} ORDER BY a;\n"
    )
    (tmp_path / "0002_two.sql").write_text("CREATE OR REPLACE VIEW two AS SELECT a FROM one FINAL;\n")
    return tmp_path


def names(applied: list[Any]) -> list[str]:
    return [migration.name for migration in applied]


def test_an_empty_store_gets_every_migration_in_order_and_a_second_run_none(migrated: Store) -> None:
    assert rows(migrated, "SELECT name FROM schema_migrations ORDER BY number") == [
        (one.name,) for one in read_migrations()
    ]
    assert migrate(migrated.client, migrated.database, retention=Retention(10_000, 10_000)) == []
    check_migrated(migrated.client, migrated.database)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))
def test_the_columns_we_write_are_those_that_the_migrations_make(migrated: Store, table: Any) -> None:
    assert tuple((row[0], row[1]) for row in rows(migrated, f"DESCRIBE {table.name}")) == table.columns


def test_partitions_and_ttl_use_columns_of_the_identity_or_the_time_that_makes_the_version(migrated: Store) -> None:
    found = rows(
        migrated,
        "SELECT name, partition_key, sorting_key, extract(create_table_query, 'TTL toDateTime\\\\((\\\\w+)\\\\)') "
        f"FROM system.tables WHERE database = '{migrated.database}' AND name LIKE '%_raw'",
    )
    assert {str(name) for name, *_ in found} == {table.name for table in TABLES}
    for name, partition_key, sorting_key, ttl in found:
        identity = str(sorting_key).split(", ")
        assert partition_key in ("", "toYYYYMM(opened_at)")
        assert not partition_key or "opened_at" in identity
        assert ttl in {"opened_at", "recorded_at", ""}
        assert ttl != "opened_at" or "opened_at" in identity
        assert (name == "labels_raw") == (ttl == "")


def test_every_table_replaces_by_version_and_every_view_is_final(migrated: Store) -> None:
    for name, engine, select in rows(
        migrated, "SELECT name, engine_full, as_select FROM system.tables WHERE database = currentDatabase()"
    ):
        if str(name).endswith("_raw"):
            assert str(engine).startswith("ReplacingMergeTree(version)")
        elif name not in {"schema_migrations", "outcomes_joined"}:  # the one is ours, the other reads two views
            assert str(select).count("FINAL") == str(select).count("_raw") > 0


def test_migrations_that_are_missing_are_applied_alone(empty: Store, folder: Path) -> None:
    later = folder / "0002_two.sql"
    later.rename(folder / "later")
    assert names(migrate(empty.client, empty.database, folder=folder, retention=None)) == ["0001_one"]
    (folder / "later").rename(later)
    with pytest.raises(StateError, match="lacks migration '0002_two'; run `agentracer migrate`"):
        check_migrated(empty.client, empty.database, folder)
    assert names(migrate(empty.client, empty.database, folder=folder)) == ["0002_two"]


def test_an_edited_migration_is_refused(empty: Store, folder: Path) -> None:
    migrate(empty.client, empty.database, folder=folder)
    (folder / "0001_one.sql").write_text("SELECT 1;\n")
    for refuse in (check, apply):
        with pytest.raises(StateError, match="'0001_one' is not the file"):
            refuse(empty, folder)


def test_a_store_that_is_ahead_is_refused(empty: Store, folder: Path) -> None:
    migrate(empty.client, empty.database, folder=folder)
    (folder / "0002_two.sql").unlink()
    for refuse in (check, apply):
        with pytest.raises(StateError, match="store of another version"):
            refuse(empty, folder)


def check(store: Store, folder: Path) -> None:
    check_migrated(store.client, store.database, folder)


def apply(store: Store, folder: Path) -> None:
    migrate(store.client, store.database, folder=folder)


def test_a_store_without_the_database_says_what_to_run(empty: Store) -> None:
    with pytest.raises(StateError, match="run `agentracer migrate`"):
        check_migrated(empty.client, empty.database)


def test_a_migration_that_failed_half_way_is_finished_by_the_next_run(empty: Store, folder: Path) -> None:
    whole = (folder / "0001_one.sql").read_text()
    (folder / "0001_one.sql").write_text(whole + "SELECT nonsense;\n")
    with pytest.raises(Exception, match="nonsense"):
        migrate(empty.client, empty.database, folder=folder)
    (folder / "0001_one.sql").write_text(whole)
    assert names(migrate(empty.client, empty.database, folder=folder)) == ["0001_one", "0002_two"]


def test_another_retention_is_applied_to_tables_that_are_there(empty: Store) -> None:
    migrate(empty.client, empty.database)
    migrate(empty.client, empty.database, retention=Retention(steps=7, others=70))
    days = "extract(engine_full, 'toIntervalDay.(\\\\d+)')"
    found = rows(empty, f"SELECT name, {days} FROM system.tables WHERE database = currentDatabase() AND {days} != ''")
    expected = {table.name: "70" for table in TABLES} | {"steps_raw": "7"}
    del expected["labels_raw"]
    assert {str(name): kept for name, kept in found} == expected


class Recorder:
    """Stands in for a replicated ClickHouse, which the embedded engine is not: keeps what it is told."""

    def __init__(self) -> None:
        self.database: str | None = None
        self.said: list[str] = []

    def command(self, cmd: str, parameters: Any = None) -> str:  # noqa: ARG002
        self.said.append(cmd)
        return ""

    def query(self, query: str, parameters: Any = None, *, column_formats: Any = None) -> "Recorder":  # noqa: ARG002
        return self

    result_rows = ()


def test_one_setting_makes_every_table_replicated() -> None:
    recorder: Client = Recorder()
    migrate(recorder, "agentracer", engine="replicated")
    made = [said for said in recorder.said if "ENGINE = " in said and "_raw" in said]  # type: ignore[attr-defined]
    assert len(made) == len(TABLES)
    path = "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', version)"
    assert all(f"ENGINE = {path}\n" in said for said in made)


def test_statements_end_where_a_line_does_and_comments_are_dropped() -> None:
    assert statements("-- a;\nSELECT ';' AS a;\n\n-- b\nSELECT 2;\nSELECT 3") == [
        "SELECT ';' AS a",
        "SELECT 2",
        "SELECT 3",
    ]


def test_migrations_are_numbered_without_gaps(tmp_path: Path) -> None:
    assert [one.number for one in read_migrations()] == list(range(1, len(read_migrations()) + 1))
    copy = tmp_path / "copy"
    shutil.copytree(FOLDER, copy)
    assert read_migrations(copy) == read_migrations()
