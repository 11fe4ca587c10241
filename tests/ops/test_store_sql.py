"""What the store's endpoint reads of a statement."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.embedded.sql import Insert, Kind, QueryError, read_insert, read_query, refuse_more

HEADS = (
    b"INSERT INTO t",
    b'insert into db.t (a, `b c`, "FORMAT")',
    b"/* FORMAT x */ INSERT INTO TABLE t -- VALUES\n",
    b"INSERT INTO format (values, format)",
    b"INSERT INTO FUNCTION file('FORMAT Native', 'CSV')",
    b"INSERT INTO t SETTINGS insert_deduplication_token = 'it''s \\' FORMAT X', async_insert = 0",
    b"INSERT INTO {table:Identifier} (* EXCEPT(values))",
)


@given(st.sampled_from(HEADS), st.binary())
def test_rows_are_never_read_as_sql(head: bytes, rows: bytes) -> None:
    sql = head + b" FORMAT Native\n" + rows
    insert = read_insert(sql)
    assert isinstance(insert, Insert)
    assert insert.head.strip() == head.strip()
    assert insert.format == "Native"
    assert sql[insert.rows_at :] == rows


@given(st.sampled_from(HEADS), st.binary())
def test_values_begin_behind_their_word(head: bytes, rows: bytes) -> None:
    sql = head + b" VALUES (" + rows
    insert = read_insert(sql)
    assert isinstance(insert, Insert)
    assert (insert.format, sql[insert.rows_at :]) == ("Values", b" (" + rows)


@given(st.text())
def test_a_quoted_string_is_no_statement(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    query = read_query(f"SELECT '{quoted}' FORMAT JSON ; ".encode())
    assert query.text.decode() == f"SELECT '{quoted}' FORMAT JSON "
    assert query.format == "JSON"


@given(st.binary())
def test_any_bytes_are_read_or_refused(sql: bytes) -> None:
    with contextlib.suppress(QueryError):
        insert = read_insert(sql)
        assert insert is None or sql.startswith(insert.head[:-1])
        assert sql.startswith(read_query(sql).text)


@pytest.mark.parametrize(
    ("between", "rows"), [(b"\n", b"1\n"), (b" \t\r\n", b"1\n"), (b" ", b"1\n"), (b"\n", b"\n1\n"), (b"", b"")]
)
def test_one_line_end_at_most_stands_between_a_format_and_its_rows(between: bytes, rows: bytes) -> None:
    sql = b"INSERT INTO t FORMAT TSV" + between + rows
    insert = read_insert(sql)
    assert insert is not None
    assert sql[insert.rows_at :] == rows


@pytest.mark.parametrize(
    "sql", [b"SELECT 1", b"INSERT INTO t SELECT 1", b"INSERT INTO t WITH 1 AS a SELECT a", b"", b"-- INSERT"]
)
def test_a_statement_without_rows_is_no_insert(sql: bytes) -> None:
    assert read_insert(sql) is None


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format Native settings max_threads = 1", "Native"),
        (b"SELECT format FROM t", None),
        (b"SELECT 1 AS format", None),
        (b"SELECT 'FORMAT JSON'", None),
        (b"SELECT * FROM (SELECT 1 FORMAT JSON)", None),
        (b"SELECT 1 -- FORMAT JSON", None),
        (b"SELECT $tag$ FORMAT JSON $tag$ FORMAT CSV", "CSV"),
    ],
)
def test_the_named_format_is_found(sql: bytes, name: str | None) -> None:
    assert read_query(sql).format == name


def test_only_rows_of_a_select_go_out_in_pieces() -> None:
    assert read_query(b"WITH 1 AS a SELECT a").is_piecewise("Native")
    assert read_query(b"(SELECT 1) UNION ALL SELECT 2 FORMAT CSV").is_piecewise("JSON")
    assert not read_query(b"SELECT 1 FORMAT JSON").is_piecewise("Native")
    assert not read_query(b"SELECT a, count() FROM t GROUP BY a WITH TOTALS").is_piecewise("Native")
    assert read_query(b"SHOW TABLES").kind is Kind.OTHER
    assert not read_query(b"SHOW TABLES").is_piecewise("Native")


@pytest.mark.parametrize("sql", [b"SELECT 1; SELECT 2", b"SELECT 1;; DROP TABLE t", b"", b" ; ", b"/* nothing */"])
def test_a_request_holds_one_statement(sql: bytes) -> None:
    with pytest.raises(QueryError, match=r"SYNTAX_ERROR"):
        read_query(sql)


@pytest.mark.parametrize("sql", [b"SELECT 1;", b"SELECT ';'", b"SELECT 1 /* ; */", b"SELECT 1; -- end\n ;"])
def test_a_semicolon_may_end_it(sql: bytes) -> None:
    assert read_query(sql).kind is Kind.SELECT


def test_nothing_may_follow_the_values() -> None:
    refuse_more(b"(1, 'a;b'), (2, '');")
    refuse_more(b"(1); -- the end")
    with pytest.raises(QueryError, match="Cannot read data after semicolon"):
        refuse_more(b"(1); (2)")
