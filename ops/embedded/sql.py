"""Read as much of a statement as the store's endpoint has to know; the engine parses it for real.

Rules:
- An INSERT that brings its rows (`VALUES …` or `FORMAT name …`) is cut into its head and where the rows
  begin; nothing beyond that point is looked at, so no payload can be taken for SQL.
- Words count only outside of quotes, comments, heredocs and brackets.
- What a shared engine can't do as a server does is refused here, by a ClickHouse code and name: state that
  outlives a request, files of this machine, and more than one statement.

Nothing here does I/O.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import dropwhile, pairwise
from typing import NamedTuple

# The engine's own limit on a statement's text, `max_query_size`: an INSERT's head has to be within it.
HEAD_BYTES = 256 * 1024

_TOKEN = re.compile(
    rb"""
    (?P<skipped> \s++ | (?:--|\#[ !])[^\n]*+ | /\*.*?(?:\*/|\Z) )
  | (?P<quoted>  '(?:[^'\\]++|\\.|'')*+(?:'|\Z) | "(?:[^"\\]++|\\.|"")*+(?:"|\Z) | `(?:[^`\\]++|\\.|``)*+(?:`|\Z)
               | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z) )
  | (?P<word>    [A-Za-z_][\w$]*+ )
  | (?P<mark>    \d[\w.]*+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING, _CLOSING = frozenset((b"(", b"[", b"{")), frozenset((b")", b"]", b"}"))
_BEFORE_A_NAME = frozenset(("INTO", "TABLE", "FUNCTION", "."))
# Formats whose pieces, written one after the other, are the whole: no header, no footer, no separator.
_PIECEWISE = frozenset(("native", "rowbinary", "csv", "tabseparated", "tsv", "tabseparatedraw", "tsvraw"))
_KEEPS_STATE = "sessions are not kept here, so it would have no effect: pass settings and database with each request"
_REFUSED = {
    ("SET",): _KEEPS_STATE,
    ("USE",): _KEEPS_STATE,
    ("CREATE", "TEMPORARY"): "temporary tables are not kept here: create a table, or use WITH",
    ("CREATE", "OR", "REPLACE", "TEMPORARY"): "temporary tables are not kept here: create a table, or use WITH",
    ("SYSTEM", "SHUTDOWN"): "end the endpoint's process with SIGTERM instead",
    ("SYSTEM", "KILL"): "end the endpoint's process with SIGKILL instead",
}


class QueryError(Exception):
    """A statement that failed, as ClickHouse says it: a code, its name and a message."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message}. ({name})")
        self.code = code


def not_implemented(what: str) -> QueryError:
    """Make the error for what a ClickHouse server can do and this endpoint can't."""
    return QueryError(48, "NOT_IMPLEMENTED", f"The embedded store does not support this: {what}")


class Kind(StrEnum):
    """How the engine has to be asked."""

    SELECT = auto()
    """Answers rows, perhaps many."""
    OTHER = auto()
    """Does something, or answers a few rows: DDL, SHOW, DESCRIBE, EXPLAIN, INSERT … SELECT."""


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT that brings its rows."""

    head: bytes
    """The statement without FORMAT and rows."""
    format: str
    rows_at: int
    """Where in the text the rows begin."""

    def from_file(self, path: str) -> bytes:
        """Return the statement that reads the rows from a file: its clause goes before any SETTINGS."""
        at, before = len(self.head), ""
        for token in _tokens(self.head):
            if token.is_word and token.text == "SETTINGS" and before not in _BEFORE_A_NAME:
                at = token.start
            before = token.text
        return b"%b FROM INFILE '%b' %b FORMAT %b" % (
            self.head[:at], path.encode(), self.head[at:], self.format.encode(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Query:
    """One whole statement that brings no rows."""

    text: bytes
    kind: Kind
    format: str | None
    """The format it names itself."""
    totals: bool = False
    """Whether it asks for totals, which come after the rows."""

    def is_piecewise(self, default_format: str) -> bool:
        """Tell whether its answer may be sent in pieces, as the engine hands them out."""
        name = self.format or default_format
        return self.kind is Kind.SELECT and not self.totals and name.lower() in _PIECEWISE


class _Token(NamedTuple):
    text: str
    """A word in capitals, a mark as it is, or "'" for anything quoted."""
    start: int
    end: int
    is_word: bool


def _tokens(sql: bytes) -> Iterator[_Token]:
    """Go through what stands outside of brackets; a bracket is told as its opening mark."""
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind, text = match.lastgroup, match.group()
        if kind == "tag":
            kind = "quoted"
        if text in _CLOSING:
            depth = max(0, depth - 1)
            continue
        if depth == 0 and kind != "skipped":
            shown = "'" if kind == "quoted" else text.decode("latin-1").upper()
            yield _Token(shown, match.start(), match.end(), kind == "word")
        depth += text in _OPENING


def read_insert(sql: bytes) -> Insert | None:
    """Read the INSERT that `sql` begins with if it brings rows; `sql` may be cut off after HEAD_BYTES."""
    tokens = _tokens(sql)
    before = next(tokens, None)
    if before is None or before.text != "INSERT":
        return None
    for token in tokens:
        if token.is_word and before.text not in _BEFORE_A_NAME:
            if token.text == "INFILE":
                raise not_implemented("FROM INFILE reads a file of the server's machine; send the rows themselves")
            if token.text in ("SELECT", "WITH"):
                _refuse_input(tokens)
                return None
            if token.text == "VALUES":
                return Insert(sql[: token.start] + b"\n", "Values", token.end)
            if token.text == "FORMAT":
                return _with_format(sql, token, next(tokens, None))
        before = token
    return None


def _refuse_input(tokens: Iterator[_Token]) -> None:
    """Refuse an INSERT … SELECT from the rows that come with it; any other is a query."""
    before = ""
    for token in tokens:
        if (before, token.text) == ("INPUT", "("):
            raise not_implemented("INSERT … SELECT FROM input(…); insert the rows as they are, or into a table first")
        before = token.text


def _with_format(sql: bytes, keyword: _Token, name: _Token | None) -> Insert | None:
    if name is None or not name.is_word:
        return None
    rows_at = name.end + len(_matched(rb"[ \t\f]*\r?\n?", sql, name.end))
    return Insert(sql[: keyword.start] + b"\n", sql[name.start : name.end].decode(), rows_at)


def _matched(pattern: bytes, text: bytes, at: int) -> bytes:
    match = re.compile(pattern).match(text, at)
    return match.group() if match else b""


def read_query(sql: bytes) -> Query:
    """Read the one statement in `sql`; raises QueryError for none, for two, and for what can't be done here."""
    tokens = list(_tokens(sql))
    words = [token.text for token in tokens]
    if ";" in words:
        end = words.index(";")
        if any(word != ";" for word in words[end:]):
            raise QueryError(62, "SYNTAX_ERROR", "Multi-statements are not allowed: send one statement a request")
        sql, tokens, words = sql[: tokens[end].start], tokens[:end], words[:end]
    if not words:
        raise QueryError(62, "SYNTAX_ERROR", "Empty query: send a statement in the body or as the parameter 'query'")
    _refuse(words)
    kind = Kind.SELECT if words[0] in ("SELECT", "WITH", "FROM", "(") else Kind.OTHER
    return Query(sql, kind, _named_format(sql, tokens), "TOTALS" in words)


def refuse_more(values: bytes) -> None:
    """Refuse what stands behind the `;` after the rows of VALUES, which the engine would leave out in silence."""
    words = dropwhile(lambda word: word != ";", (token.text for token in _tokens(values)))
    if any(word != ";" for word in words):
        raise QueryError(33, "CANNOT_READ_ALL_DATA", "Cannot read data after semicolon: send one statement a request")


def _refuse(words: list[str]) -> None:
    for start, why in _REFUSED.items():
        if tuple(words[: len(start)]) == start:
            raise not_implemented(f"{' '.join(start)}: {why}")
    for word, following in pairwise(words):
        if (word, following) == ("INTO", "OUTFILE"):
            raise not_implemented("INTO OUTFILE writes a file of the server's machine; read the answer instead")


def _named_format(sql: bytes, tokens: list[_Token]) -> str | None:
    """Find the last `FORMAT name` that ends the statement or is followed by its settings."""
    for at in range(len(tokens) - 2, -1, -1):
        keyword, name = tokens[at : at + 2]
        is_clause = keyword.is_word and keyword.text == "FORMAT" and name.is_word
        if is_clause and [token.text for token in tokens[at + 2 : at + 3]] in ([], ["SETTINGS"]):
            return sql[name.start : name.end].decode()
    return None
