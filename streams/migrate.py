"""The store's schema, from numbered SQL files, each applied once and recorded with its hash.

Rules: a file is never edited once it is merged, and a store that says otherwise is refused; a file's statements can
be run again, since a store may fail between two of them; `{engine}` in a file is the one thing that is replaced.
Retention is a setting and no migration: `migrate` sets it whenever it differs. On a replicated store it is run on
every replica: the record of what was applied is the replica's own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from schemas.errors import StateError

FOLDER = Path(__file__).with_name("migrations")
Engine = Literal["single", "replicated"]
_ENGINES: dict[Engine, str] = {
    "single": "ReplacingMergeTree(version)",
    "replicated": "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', version)",
}
_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations
(number UInt32, name String, sha256 String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ReplacingMergeTree ORDER BY number
"""


class Result(Protocol):
    """What a query answers."""

    @property
    def result_rows(self) -> Sequence[Sequence[Any]]: ...  # noqa: D102


class Client(Protocol):
    """What is used of a clickhouse_connect client."""

    database: str | None

    def command(self, cmd: str, parameters: Mapping[str, Any] | None = None) -> Any: ...  # noqa: D102
    def query(  # noqa: D102
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        column_formats: Mapping[str, str] | None = None,
    ) -> Result: ...


class Migration(NamedTuple):
    """One file."""

    number: int
    name: str
    sha256: str
    sql: str


class Retention(NamedTuple):
    """For how many days rows are kept, by their trajectory's opening or their record's time; labels for ever."""

    steps: int = 90
    others: int = 400


_KEPT_BY = {
    "steps_raw": "opened_at",
    "trajectories_raw": "opened_at",
    "verdicts_raw": "opened_at",
    "standing_verdicts_raw": "opened_at",
    "outcomes_raw": "recorded_at",
    "dead_letters_raw": "recorded_at",
    "pipeline_events_raw": "recorded_at",
}


def migrate(
    client: Client,
    database: str,
    *,
    engine: Engine = "single",
    retention: Retention | None = None,
    folder: Path = FOLDER,
) -> list[Migration]:
    """Create the database if need be, apply what is missing, and return that; the client then stays in it.

    Raises StateError when the store was migrated by other files, or by a newer version.
    """
    client.database = None  # it may not be there yet
    client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", {"name": database})
    client.database = database
    client.command(_RECORD)
    missing = _missing(client, database, read_migrations(folder))
    for migration in missing:
        _apply(client, migration, engine)
    _keep(client, retention or Retention())
    return missing


def check_migrated(client: Client, database: str, folder: Path = FOLDER) -> None:
    """Raise StateError unless the store has exactly the migrations of this version; the client stays in it."""
    client.database = None  # it may not be there
    found = client.query(
        "SELECT count() FROM system.tables WHERE database = {name:String} AND name = 'schema_migrations'",
        {"name": database},
    )
    client.database = database
    known = read_migrations(folder)
    missing = _missing(client, database, known) if found.result_rows[0][0] else known
    if missing:
        raise StateError(
            f"the store's database {database!r} lacks migration {missing[0].name!r}; run `agentracer migrate`"
        )


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """Return every migration, in order."""
    return [_read(path) for path in sorted(folder.glob("[0-9]*.sql"))]


def _read(path: Path) -> Migration:
    raw = path.read_bytes()
    return Migration(int(path.stem.split("_")[0]), path.stem, hashlib.sha256(raw).hexdigest(), raw.decode())


def _missing(client: Client, database: str, known: list[Migration]) -> list[Migration]:
    recorded = {
        int(number): (str(name), str(sha256))
        for number, name, sha256 in client.query(
            "SELECT number, name, sha256 FROM schema_migrations FINAL ORDER BY number"
        ).result_rows
    }
    of = {migration.number: migration for migration in known}
    for number, (name, sha256) in recorded.items():
        if number not in of:
            raise StateError(
                f"the store's database {database!r} has migration {name!r}, which this version does not know: "
                "it is a store of another version; upgrade agentracer or name another database"
            )
        if sha256 != of[number].sha256:
            raise StateError(
                f"migration {of[number].name!r} is not the file that the store's database {database!r} was migrated "
                "with; restore the file, and put a change into a new one"
            )
    return [migration for migration in known if migration.number not in recorded]


def _apply(client: Client, migration: Migration, engine: Engine) -> None:
    for statement in statements(migration.sql):
        client.command(statement.replace("{engine}", _ENGINES[engine]))
    client.command(
        "INSERT INTO schema_migrations (number, name, sha256) VALUES ({number:UInt32}, {name:String}, {sha256:String})",
        {"number": migration.number, "name": migration.name, "sha256": migration.sha256},
    )


def statements(sql: str) -> list[str]:
    """Split a file at the semicolons that end a line, and drop the lines that are comments."""
    lines = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in f"{lines}\n".split(";\n") if statement.strip()]


def _keep(client: Client, retention: Retention) -> None:
    found = client.query("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()").result_rows
    for table, engine in found:
        if column := _KEPT_BY.get(table):
            days = retention.steps if table == "steps_raw" else retention.others
            ttl = f"toDateTime({column}) + toIntervalDay({days:d})"
            if f"TTL {ttl}" not in str(engine):
                client.command(f"ALTER TABLE {table} MODIFY TTL {ttl}")
