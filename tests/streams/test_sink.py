import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import clickhouse_connect
import pytest

from ops.embedded.store import EmbeddedStore
from schemas import StepKind, ToolUse, Usage, VerdictPurpose
from schemas.errors import SettingsError, StateError, StoreUnavailableError
from streams import tables
from streams.migrate import check_migrated, migrate
from streams.rows import Row, dead_letter_row, label_row, outcome_row, pipeline_event_row, step_rows, trajectory_row
from streams.sink import Store, StoreAwayError, address_of, connect
from streams.tables import Table
from tests.factories import START, outcome, outcome_event, step, trajectory, verdict
from tests.stores import LONG, PLACE, emptied, own_store, put, put_trajectory, put_verdict, rows
from tests.streams.test_rows import label, letter, report

EVERY_BYTE = bytes(range(256))


@pytest.fixture(scope="module")
def shared(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def store(shared: Store) -> Store:
    return emptied(shared)


@pytest.fixture
def own(store_url: str) -> Iterator[Store]:
    """Give a database whose tables a test may change."""
    with own_store(store_url) as store:
        yield store


def steps(count: int, **fields: Any) -> list[Row]:
    return step_rows(trajectory([step(index=index) for index in range(count)], **fields))


def with_cell(row: Row, column: str, cell: Any) -> Row:
    at = [name for name, _ in tables.STEPS.columns].index(column)
    return (*row[:at], cell, *row[at + 1 :])


def test_a_step_comes_back_as_it_went_in(store: Store) -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
    one = step(
        kind=StepKind.TOOL_CALL,
        content="zeile\n\0\té東🚀",
        tool=ToolUse(name="search", arguments={"q": [1, 2.5, None, "ä"]}, result="done"),
        usage=Usage(model="m", input_tokens=2**31 - 1),
        started_at=at,
        ended_at=at + timedelta(microseconds=1),
        outcome=outcome(score=-0.1),
        attributes={"a": {"b": True}},
    )
    put(store, tables.STEPS, *step_rows(trajectory([one])))
    (found,) = store.client.query("SELECT * FROM steps").named_results()
    assert (found["content"], found["kind"], found["agent"]) == (one.content, "tool_call", one.agent)
    assert (found["started_at"], found["ended_at"]) == (one.started_at, one.ended_at)
    assert (found["input_tokens"], found["output_tokens"], found["score"]) == (2**31 - 1, None, -0.1)
    assert json.loads(found["tool_arguments"]) == {"q": [1, 2.5, None, "ä"]}
    assert (json.loads(found["tool_result"]), json.loads(found["attributes"])) == ("done", {"a": {"b": True}})


@pytest.mark.parametrize("value", [EVERY_BYTE, b"", b"\xff\xfe{", b"\0", None], ids=repr)
def test_the_bytes_of_a_dead_letter_come_back_exactly(store: Store, value: bytes | None) -> None:
    batch = [dead_letter_row(letter(line=line, key=value, value=value), PLACE) for line in range(2)]
    text = dead_letter_row(letter(line=2, key=b"text", value="é".encode()), PLACE)
    assert store.insert(tables.DEAD_LETTERS, [text, *batch], uuid4().hex) == []
    found = store.client.query(
        "SELECT key, value FROM dead_letters ORDER BY line", column_formats={"key": "bytes", "value": "bytes"}
    ).result_rows
    assert found == [(value, value), (value, value), (b"text", "é".encode())]


def one_of_each() -> list[tuple[Table, Row]]:
    of = trajectory()
    return [
        (tables.TRAJECTORIES, trajectory_row(of, PLACE)),
        *((tables.STEPS, row) for row in step_rows(of)),
        (tables.OUTCOMES, outcome_row(outcome_event(), PLACE)),
        (tables.LABELS, label_row(label(), PLACE)),
        (tables.DEAD_LETTERS, dead_letter_row(letter(), PLACE)),
        (tables.PIPELINE_EVENTS, pipeline_event_row(report(), PLACE)),
    ]


def test_a_row_that_is_stored_twice_is_shown_once(store: Store) -> None:
    for table, row in one_of_each():
        put(store, table, row, times=2)
    for offset in (4, 4, 4):
        put_verdict(store, verdict(), offset)
    views = (
        "trajectories",
        "steps",
        "outcomes",
        "labels",
        "dead_letters",
        "pipeline_events",
        "verdicts",
        "verdicts_all",
    )
    for view in views:
        assert rows(store, f"SELECT count() FROM {view}") == [(3 if view == "steps" else 1,)], view
    assert rows(store, "SELECT count() FROM steps_raw") == [(6,)]


def test_the_later_revision_replaces_the_earlier_whichever_is_stored_last(store: Store) -> None:
    first = trajectory([step(index=0), step(index=2)], revision=1)
    second = trajectory([step(index=0), step(index=1), step(index=2)], revision=2, outcome=None)
    for of in (second, first, second):
        put_trajectory(store, of)
    assert rows(store, "SELECT revision, step_count, result FROM trajectories") == [(2, 3, None)]
    found = rows(store, "SELECT event_id, position, revision FROM steps ORDER BY position")
    assert found == [("t1-0", 0, 2), ("t1-1", 1, 2), ("t1-2", 2, 2)]


def test_an_id_that_comes_back_later_is_another_run(store: Store) -> None:
    for opened_at in (START, START + timedelta(days=40), START + timedelta(milliseconds=1)):
        put_trajectory(store, trajectory(opened_at=opened_at), times=2)
    assert rows(store, "SELECT count(), uniqExact(opened_at) FROM trajectories") == [(3, 3)]
    assert rows(store, "SELECT count() FROM steps") == [(9,)]


def test_the_verdict_with_the_lowest_offset_stands_whoever_wrote_it_and_whenever_it_is_stored(store: Store) -> None:
    early, late = verdict(tracer_version="2", agent="right"), verdict(tracer_version="1", agent="wrong")
    put_verdict(store, late, 12, times=2)
    put_verdict(store, early, 5, times=2)
    put_verdict(store, late, 9)
    put_verdict(store, verdict(purpose=VerdictPurpose.SHADOW), 1)
    put_verdict(store, verdict(purpose=VerdictPurpose.RETRACE), 20)
    assert rows(store, "SELECT agent, record_offset FROM verdicts") == [("right", 5)]
    found = rows(
        store, "SELECT purpose, tracer_version, record_offset, standing FROM verdicts_all ORDER BY record_offset"
    )
    assert found == [("shadow", "1", 1, 0), ("serve", "2", 5, 1), ("serve", "1", 9, 0), ("retrace", "1", 20, 0)]


def test_every_revision_has_its_own_standing_verdict(store: Store) -> None:
    for revision in (1, 2):
        for offset in (revision * 10, revision * 10 + 1):
            of = trajectory(revision=revision)
            put_verdict(store, verdict(of, verdict_id=f"v{offset}"), offset)
    assert rows(store, "SELECT revision, verdict_id FROM verdicts ORDER BY revision") == [(1, "v10"), (2, "v20")]


def test_a_verdict_at_offset_zero_is_marked_as_standing_and_a_lone_shadow_is_not(store: Store) -> None:
    put_verdict(store, verdict(purpose=VerdictPurpose.SHADOW), 0)
    assert rows(store, "SELECT standing FROM verdicts_all") == [(0,)]
    assert rows(store, "SELECT count() FROM verdicts") == [(0,)]
    put_verdict(store, verdict(), 1)
    assert rows(store, "SELECT record_offset, standing FROM verdicts_all ORDER BY record_offset") == [(0, 0), (1, 1)]


def test_a_lone_outcome_is_joined_to_the_run_that_was_opened_last_before_it(store: Store) -> None:
    day = timedelta(days=1)
    for opened_at in (START, START + day, START + 3 * day):
        put_trajectory(store, trajectory(opened_at=opened_at), times=2)
    place = PLACE._replace(timestamp_ms=PLACE.timestamp_ms + 2 * 86_400_000)
    put(store, tables.OUTCOMES, outcome_row(outcome_event(), place), times=2)
    put(store, tables.OUTCOMES, outcome_row(outcome_event("never-opened"), place))
    found = rows(store, "SELECT trajectory_id, opened_at, system FROM outcomes_joined ORDER BY trajectory_id")
    assert found == [("never-opened", None, ""), ("t1", START + day, "shop")]


def test_the_latest_dead_letter_of_an_address_stands(store: Store) -> None:
    for at_ms, message in ((2, "second"), (1, "first")):
        place = PLACE._replace(timestamp_ms=PLACE.timestamp_ms + at_ms)
        put(store, tables.DEAD_LETTERS, dead_letter_row(letter(message=message), place))
    assert rows(store, "SELECT message FROM dead_letters") == [("second",)]


def test_a_token_that_is_sent_again_stores_nothing_again(store: Store) -> None:
    for _ in range(3):
        assert store.insert(tables.STEPS, steps(5), "a-token") == []
    assert store.insert(tables.STEPS, steps(5), "another") == []
    assert rows(store, "SELECT count() FROM steps_raw") == [(10,)]


def test_an_empty_batch_asks_nothing_of_the_store(own: Store) -> None:
    own.client.command("DROP TABLE steps_raw")
    assert own.insert(tables.STEPS, [], "t") == []


@pytest.mark.parametrize("count", [1, 2, 64])
@pytest.mark.parametrize(
    ("column", "cell"),
    [("content", "\ud800"), ("agent", "\udfff"), ("position", -1), ("position", 2**32), ("content", None)],
    ids=str,
)
def test_a_row_that_the_driver_cannot_write_is_found_and_the_others_are_stored(
    store: Store, count: int, column: str, cell: Any
) -> None:
    batch = steps(count)
    bad = count // 2
    batch[bad] = with_cell(batch[bad], column, cell)
    (refused,) = store.insert(tables.STEPS, batch, uuid4().hex)
    assert refused.row == bad
    assert {position for (position,) in rows(store, "SELECT position FROM steps")} == set(range(count)) - {bad}


def test_rows_that_clickhouse_refuses_are_found_and_the_others_are_stored(own: Store) -> None:
    own.client.command("ALTER TABLE steps_raw MODIFY COLUMN agent_role Nullable(Enum8('buyer' = 1))")
    bad = (0, 17, 18, 49)
    batch = [with_cell(row, "agent_role", "a secret" if at in bad else "buyer") for at, row in enumerate(steps(50))]
    refused = own.insert(tables.STEPS, batch, uuid4().hex)
    assert [one.row for one in refused] == list(bad)
    assert {one.message for one in refused} == {"ClickHouse refuses it: UNKNOWN_ELEMENT_OF_ENUM (code 691)"}
    assert rows(own, "SELECT count() FROM steps") == [(46,)]


@pytest.fixture(scope="module")
def in_process(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Give the engine without the endpoint before it."""
    store = connect(f"{store_url}/in_process")
    with clickhouse_connect.get_client(dsn=f"chdb://{tmp_path_factory.mktemp('engine')}") as client:
        store.client.close()
        store.client = client
        migrate(client, store.database, retention=LONG)
        yield store


def test_a_violated_constraint_blames_the_row(in_process: Store) -> None:
    in_process.client.command("ALTER TABLE steps_raw ADD CONSTRAINT no_poison CHECK content NOT LIKE '%poison%'")
    batch = steps(5)
    batch[3] = with_cell(batch[3], "content", "poison")
    assert [one.row for one in in_process.insert(tables.STEPS, batch, uuid4().hex)] == [3]
    assert rows(in_process, "SELECT count() FROM steps") == [(4,)]


def test_trajectories_of_many_months_are_stored_by_one_insert(store: Store) -> None:
    months = [datetime(2010 + month // 12, 1 + month % 12, 1, tzinfo=UTC) for month in range(110)]
    batch = [trajectory_row(trajectory(opened_at=opened_at), PLACE) for opened_at in months]
    assert store.insert(tables.TRAJECTORIES, batch, uuid4().hex) == []
    assert rows(store, "SELECT count() FROM trajectories") == [(110,)]


def test_a_missing_table_says_what_to_run(own: Store) -> None:
    own.client.command("DROP TABLE steps_raw")
    with pytest.raises(StateError, match="run `agentracer migrate`"):
        own.insert(tables.STEPS, steps(2), "t")


def test_an_overloaded_store_is_away_and_blames_no_row(in_process: Store) -> None:
    in_process.client.command("SET max_memory_usage = 100000")
    with pytest.raises(StoreAwayError, match=r"does not take rows now: MEMORY_LIMIT_EXCEEDED \(code 241\)"):
        in_process.insert(tables.STEPS, steps(500), "t")
    in_process.client.command("SET max_memory_usage = 0")
    assert in_process.insert(tables.STEPS, steps(500), "t") == []


def test_a_killed_store_is_away_and_takes_the_rows_when_it_is_back(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store") as server, own_store(server.url) as store:
        server.kill()
        with pytest.raises(StoreAwayError, match="does not take rows now: NewConnectionError"):
            store.insert(tables.STEPS, steps(3), "t")
        assert not store.ping()
        server.start()
        assert store.ping()
        assert store.insert(tables.STEPS, steps(3), "t") == []
        assert rows(store, "SELECT count() FROM steps") == [(3,)]


def test_a_store_that_is_gone_when_it_is_asked_for_its_tables_is_unavailable(tmp_path: Path) -> None:
    server = EmbeddedStore(tmp_path)
    with server:
        store = connect(f"{server.url}/one")
        migrate(store.client, "one")
        store.ask(partial(check_migrated, database="one"))
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.ask(partial(check_migrated, database="one"))


def test_where_nothing_listens_connecting_gives_up_in_time_and_names_the_address() -> None:
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"no ClickHouse answers at '127.0.0.1:9'") as raised:
        connect("http://someone:secret@127.0.0.1:9/agentracer", within_s=0.5)
    assert time.monotonic() - begun < 5
    assert "secret" not in str(raised.value)


def test_a_wrong_password_is_a_setting_to_correct(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store", password="right") as server:
        with pytest.raises(SettingsError, match="AGENTRACER_CLICKHOUSE_URL"):
            connect(server.url.replace("//", "//default:wrong@"))
        connect(server.url.replace("//", "//default:right@")).close()


@pytest.mark.parametrize(
    ("url", "address"),
    [("http://u:p@h:8123/d", "h:8123"), ("https://h/d", "h"), ("http://u:p%40@[::1]:8123", "[::1]:8123")],
)
def test_an_address_never_holds_the_password(url: str, address: str) -> None:
    assert address_of(url) == address
