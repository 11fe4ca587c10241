"""What we use of ClickHouse's HTTP interface, asked by its stock client. A server passes this as the store does."""

import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
COLUMNS = {
    "id": "UInt64",
    "text": "String",
    "role": "LowCardinality(String)",
    "at": "DateTime64(3, 'UTC')",
    "tags": "Array(String)",
    "counts": "Map(String, UInt8)",
    "score": "Nullable(Float64)",
    "status": "Enum8('good' = 1, 'bad' = 2)",
    "pairs": "Array(Tuple(String, Int32))",
    "flag": "Bool",
}
ROW = (7, "a", "tool", NOW, ["x", "y"], {"k": 1}, None, "bad", [("a", -1)], True)
ODD_STRINGS = [
    "",
    "a\tb\nc\r\nd",
    "nul \0 inside",
    "é ü 漢字 😀 \U0010ffff",
    "INSERT INTO t FORMAT Native\n\x01\x01",
    "'; DROP TABLE t; --",
    "\\N \\t \\' ` \" {a:String} $x$ /* */ --",
    "SETTINGS max_threads = 1 FORMAT JSON",
    "x" * 100_000,
]


def columns(*names: str) -> dict[str, list[str]]:
    """How the stock client wants to be told what it inserts."""
    return {"column_names": list(names), "column_type_names": [COLUMNS[name] for name in names]}


def create(client: Client, *names: str) -> None:
    listed = ", ".join(f"{name} {COLUMNS[name]}" for name in names)
    client.command(f"CREATE TABLE t ({listed}) ENGINE = ReplacingMergeTree ORDER BY {names[0]}")


def rows(client: Client, query: str, **options: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(query, **options).result_rows]


def code_and_name(client: Client, statement: str, **options: Any) -> tuple[int, str]:
    with pytest.raises(DatabaseError) as caught:
        client.query(statement, **options)
    return caught.value.code, caught.value.name


def test_typed_rows_come_back_as_they_were(client: Client) -> None:
    create(client, *COLUMNS)
    summary = client.insert("t", [ROW], **columns(*COLUMNS))
    assert summary.written_rows == 1
    result = client.query("SELECT * FROM t", tz_mode="aware")
    assert [tuple(row) for row in result.result_rows] == [ROW]
    assert result.column_names == tuple(COLUMNS)


def test_rows_may_be_inserted_without_saying_their_types(client: Client) -> None:
    create(client, "id", "text")
    client.insert("t", [[1, "a"]], column_names=["id", "text"])
    assert rows(client, "SELECT * FROM t") == [(1, "a")]


@pytest.mark.parametrize("compress", ["false", "lz4", "zstd", "gzip"])
def test_compressed_inserts_arrive(client: Client, store_url: str, compress: str) -> None:
    create(client, "id", "text")
    data = [[number, "abc" * number] for number in range(3000)]
    with clickhouse_connect.get_client(dsn=store_url, database=client.database, compress=compress) as other:
        other.insert("t", data, **columns("id", "text"))
    assert rows(client, "SELECT count(), sum(length(text)) FROM t") == [(3000, 3 * 2999 * 1500)]


@pytest.mark.parametrize("text", ODD_STRINGS, ids=range(len(ODD_STRINGS)))
def test_any_string_survives_an_insert_and_a_parameter(client: Client, text: str) -> None:
    create(client, "id", "text")
    client.insert("t", [[1, text]], **columns("id", "text"))
    assert rows(client, "SELECT text FROM t") == [(text,)]
    found = rows(client, "SELECT count() FROM t WHERE text = {text:String}", parameters={"text": text})
    assert found == [(1,)]


def test_a_string_of_megabytes_survives_an_insert(client: Client) -> None:
    create(client, "id", "text")
    text = "abcdefgé" * 2_000_000
    client.insert("t", [[1, text]], **columns("id", "text"))
    assert rows(client, "SELECT text FROM t") == [(text,)]


def test_bytes_that_are_no_text_survive(client: Client) -> None:
    create(client, "id", "text")
    client.raw_insert("t", ["id", "text"], b"\x01" + bytes(7) + b"\x03\xff\x00\n", fmt="RowBinary")
    assert rows(client, "SELECT hex(text) FROM t") == [("FF000A",)]


def test_parameters_are_typed(client: Client) -> None:
    given = {"n": -5, "s": "it's", "a": ["q'", "\t"], "d": NOW, "none": None}
    query = "SELECT {n:Int32}, {s:String}, {a:Array(String)}, {d:DateTime64(3, 'UTC')}, {none:Nullable(String)}"
    assert rows(client, query, parameters=given, tz_mode="aware") == [(-5, "it's", ["q'", "\t"], NOW, None)]


def test_a_parameter_may_name_a_table(client: Client) -> None:
    create(client, "id")
    client.insert("t", [[3]], **columns("id"))
    assert rows(client, "SELECT id FROM {table:Identifier}", parameters={"table": "t"}) == [(3,)]


def test_a_parameter_is_never_sql(client: Client) -> None:
    create(client, "id")
    harmful = "t'; DROP TABLE t; SELECT '"
    assert rows(client, "SELECT {x:String}", parameters={"x": harmful}) == [(harmful,)]
    assert rows(client, "SELECT count() FROM t") == [(0,)]


def test_values_and_other_formats_insert_too(client: Client) -> None:
    create(client, "id", "text")
    client.command("INSERT INTO t (id, text) VALUES (1, 'one; FORMAT CSV'), (1 + 1, lower('TWO'))")
    client.command("INSERT INTO t VALUES ({id:UInt64}, {text:String})", parameters={"id": 3, "text": "th'ree"})
    client.raw_insert("t", ["id", "text"], '{"id":4,"text":"fo\\nur"}\n', fmt="JSONEachRow")
    client.raw_insert("t", ["id", "text"], b"5,five\n", fmt="CSV")
    client.raw_insert("t", ["id", "text"], iter([b"6\tsi", b"x\n"]), fmt="TSV")
    client.command("INSERT INTO t (id, text) SELECT 7, 'seven'")
    found = rows(client, "SELECT id, text FROM t ORDER BY id")
    assert found == list(enumerate(["one; FORMAT CSV", "two", "th'ree", "fo\nur", "five", "six", "seven"], start=1))


def test_the_newest_version_stands_when_read_with_final(client: Client) -> None:
    client.command(
        "CREATE TABLE r (id UInt64, version UInt32, text String) ENGINE = ReplacingMergeTree(version) ORDER BY id"
    )
    for version, text in ((2, "second"), (1, "first"), (3, "third")):
        client.insert("r", [[1, version, text]], column_names=["id", "version", "text"])
    assert rows(client, "SELECT text FROM r FINAL") == [("third",)]
    assert rows(client, "SELECT text FROM r", settings={"final": 1}) == [("third",)]


def test_a_batch_sent_twice_with_its_token_counts_once(client: Client) -> None:
    client.command(
        "CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 100"
    )
    for token in ("a", "a", "b"):
        client.insert("t", [[1], [2]], **columns("id"), settings={"insert_deduplication_token": token})
    assert rows(client, "SELECT count() FROM t") == [(4,)]


def test_settings_hold_for_one_request_only(client: Client) -> None:
    query = "SELECT getSetting('max_threads')"
    default = rows(client, query)
    assert rows(client, query, settings={"max_threads": 1}) == [(1,)]
    assert rows(client, query) == default


def test_each_request_has_a_database_of_its_own(client: Client, store_url: str) -> None:
    with clickhouse_connect.get_client(dsn=store_url) as other:
        assert rows(other, "SELECT currentDatabase()") == [("default",)]
    assert rows(client, "SELECT currentDatabase()") == [(client.database,)]


def test_errors_have_clickhouses_codes_and_names(client: Client) -> None:
    create(client, "id")
    assert code_and_name(client, "SELECT * FROM missing") == (60, "UNKNOWN_TABLE")
    assert code_and_name(client, "SELECT missing FROM t") == (47, "UNKNOWN_IDENTIFIER")
    assert code_and_name(client, "SELECT * FROM missing.t") == (81, "UNKNOWN_DATABASE")
    assert code_and_name(client, "SELEC 1") == (62, "SYNTAX_ERROR")
    assert code_and_name(client, "SELECT nofunction(1)") == (46, "UNKNOWN_FUNCTION")
    assert code_and_name(client, "SELECT throwIf(1)") == (395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO")
    slow = "SELECT sum(sipHash64(number)) FROM numbers(100000000000)"
    assert code_and_name(client, slow, settings={"max_execution_time": 1}) == (159, "TIMEOUT_EXCEEDED")


def test_a_bad_insert_says_why_and_changes_nothing(client: Client) -> None:
    create(client, "id")
    with pytest.raises(DatabaseError) as caught:
        client.raw_insert("t", ["id"], b'{"id":1}\n{"id":"x"}\n', fmt="JSONEachRow")
    assert caught.value.name.startswith("CANNOT_PARSE")
    with pytest.raises(DatabaseError) as caught:
        client.raw_insert("missing", ["id"], b"1\n", fmt="TSV")
    assert caught.value.name == "UNKNOWN_TABLE"
    assert rows(client, "SELECT count() FROM t") == [(0,)]


def test_two_statements_in_a_request_are_refused(client: Client) -> None:
    create(client, "id")
    assert code_and_name(client, "SELECT 1; DROP TABLE t") == (62, "SYNTAX_ERROR")
    with pytest.raises(DatabaseError):
        client.command("INSERT INTO t VALUES (1); DROP TABLE t")
    assert rows(client, "SELECT count() FROM t") == [(0,)]


def test_an_empty_answer_has_no_columns_but_limit_0_has(client: Client) -> None:
    create(client, "id", "text")
    assert client.query("SELECT id, text FROM t").result_rows == []
    assert client.query("SELECT id, text FROM t LIMIT 0").column_names == ("id", "text")


def test_every_output_format_is_the_engines(client: Client) -> None:
    assert client.raw_query("SELECT 1 AS a, 'x' AS b", fmt="TSV") == b"1\tx\n"
    assert client.raw_query("SELECT 1 AS a, 'x' AS b FORMAT CSVWithNames") == b'"a","b"\n1,"x"\n'
    assert b'"meta"' in client.raw_query("SELECT 1 AS a", fmt="JSON")
    assert client.query_arrow("SELECT number FROM numbers(3)").to_pydict() == {"number": [0, 1, 2]}
    assert client.query_df("SELECT 1 AS a").to_dict() == {"a": {0: 1}}


def test_statements_that_answer_a_few_rows_answer_them(client: Client) -> None:
    create(client, "id")
    assert rows(client, "SHOW TABLES") == [("t",)]
    assert rows(client, "EXISTS TABLE t") == [(1,)]
    assert rows(client, "DESCRIBE t")[0][:2] == ("id", "UInt64")
    assert rows(client, "SELECT count() FROM t") == [(0,)]
    assert rows(client, "(SELECT 1) UNION ALL (SELECT 1)") == [(1,), (1,)]
    totals = "SELECT number % 2 AS k, count() FROM numbers(4) GROUP BY k WITH TOTALS ORDER BY k FORMAT TSV"
    assert client.raw_query(totals) == b"0\t2\n1\t2\n\n0\t4\n"


def test_an_answer_of_hundreds_of_megabytes_streams(client: Client) -> None:
    query = "SELECT number, repeat('x', 100) FROM numbers(3000000)"
    with client.query_column_block_stream(query) as blocks:
        assert sum(len(block[0]) for block in blocks) == 3_000_000


def test_an_error_in_the_middle_of_an_answer_is_no_end_of_it(client: Client) -> None:
    query = "SELECT throwIf(number = 2000000) FROM numbers(3000000)"
    with pytest.raises(StreamFailureError) as caught, client.query_rows_stream(query) as stream:
        for _ in stream:
            pass
    assert caught.value.code == 395


def test_many_read_while_one_writes(client: Client, store_url: str) -> None:
    """A batch is one part: a reader sees all of it or nothing."""
    create(client, "id", "text")
    broken: list[object] = []
    written = threading.Event()

    def read() -> None:
        with clickhouse_connect.get_client(dsn=store_url, database=client.database) as reader:
            while not written.is_set():
                broken.extend(
                    rows(reader, "SELECT intDiv(id, 1000) AS b, count() AS n FROM t GROUP BY b HAVING n != 1000")
                )

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for batch in range(20):
        data = [[batch * 1000 + row, "text"] for row in range(1000)]
        client.insert("t", data, **columns("id", "text"))
    written.set()
    for reader in readers:
        reader.join()
    assert broken == []
    assert rows(client, "SELECT count() FROM t") == [(20_000,)]


def test_a_long_query_keeps_nobody_waiting(client: Client, store_url: str) -> None:
    slow = "SELECT sum(sipHash64(number)) FROM numbers(100000000000)"
    started = threading.Event()

    def ask() -> None:
        with clickhouse_connect.get_client(dsn=store_url) as other:
            started.set()
            with pytest.raises(DatabaseError):
                other.query(slow, settings={"max_execution_time": 3, "max_threads": 1})

    asking = threading.Thread(target=ask)
    asking.start()
    started.wait(10)
    assert rows(client, "SELECT 1") == [(1,)]
    assert asking.is_alive()
    asking.join()


def test_parts_of_a_url_reach_the_store(store_url: str) -> None:
    parts = urlsplit(store_url)
    with clickhouse_connect.get_client(host=parts.hostname, port=parts.port, username="default") as other:
        assert other.ping()
        assert rows(other, "SELECT 1") == [(1,)]


def test_an_insert_that_fails_while_it_is_written_is_refused_whole(client: Client) -> None:
    client.command(
        "CREATE TABLE t (text String, CONSTRAINT clean CHECK text != 'poison') ENGINE = MergeTree ORDER BY text"
    )
    with pytest.raises(DatabaseError) as caught:
        client.insert("t", [["fine"], ["poison"]], column_names=["text"])
    assert caught.value.code == 469
    assert rows(client, "SELECT * FROM t") == []
