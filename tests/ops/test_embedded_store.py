"""The store as a process: what a kill leaves, who may come in, and what it says it doesn't speak."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from ops.embedded.store import EmbeddedStore, answers
from schemas.errors import StoreUnavailableError

ROOT = Path(__file__).parents[2]
BATCH_ROWS = 2000
TABLE = (
    "CREATE OR REPLACE TABLE t (batch UInt64, number UInt32) ENGINE = MergeTree ORDER BY (batch, number) "
    "SETTINGS non_replicated_deduplication_window = 1000"
)


@pytest.fixture(scope="module")
def standing() -> Iterator[EmbeddedStore]:
    """A store that no test ends."""
    with EmbeddedStore() as started:
        yield started


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore() as started:
        yield started


def connect(store: EmbeddedStore, **options: str) -> Client:
    return clickhouse_connect.get_client(dsn=store.url, autogenerate_session_id=False, query_retries=0, **options)


def ask(url: str, statement: str | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of the answer to a bare request."""
    data = None if statement is None else statement.encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def insert_batches(store: EmbeddedStore, first: int, acknowledged: list[int], stopped: threading.Event) -> None:
    """Insert numbered batches until `stopped`, through kills, and note which were acknowledged."""
    client: Client | None = None
    batch = first
    while not stopped.is_set():
        try:
            client = client or connect(store)
            data = [[batch, number] for number in range(BATCH_ROWS)]
            client.insert("t", data, column_names=["batch", "number"], column_type_names=["UInt64", "UInt32"])
            acknowledged.append(batch)
        except ClickHouseError:
            client = None
            time.sleep(0.02)
        batch += 1


def test_an_acknowledged_batch_is_whole_after_a_kill_and_none_is_partial(store: EmbeddedStore) -> None:
    connect(store).command(TABLE)
    acknowledged: list[int] = []
    stopped = threading.Event()
    writers = [
        threading.Thread(target=insert_batches, args=(store, first, acknowledged, stopped)) for first in (0, 1 << 32)
    ]
    for writer in writers:
        writer.start()
    for pause_s in (0.5, 0.3, 0.7):
        time.sleep(pause_s)
        store.kill()
        until_the_kill = list(acknowledged)
        store.restart()
        found = dict(connect(store).query("SELECT batch, count() FROM t GROUP BY batch").result_rows)
        assert [batch for batch in until_the_kill if found.get(batch) != BATCH_ROWS] == []
        assert set(found.values()) <= {BATCH_ROWS}
    stopped.set()
    for writer in writers:
        writer.join()
    assert len(acknowledged) > len(writers)


def test_an_insert_that_breaks_off_inserts_nothing(standing: EmbeddedStore) -> None:
    client = connect(standing)
    client.command(TABLE)
    begun = b'INSERT INTO t FORMAT JSONEachRow\n{"batch":1,"number":1}\n'
    with socket.create_connection(("127.0.0.1", standing.port)) as connection:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"%x\r\n%b\r\n" % (len(begun), begun))
    with socket.create_connection(("127.0.0.1", standing.port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + begun)
    time.sleep(0.3)
    assert client.query("SELECT count() FROM t").result_rows == [(0,)]


def test_a_reader_that_goes_away_leaves_no_query_behind(standing: EmbeddedStore) -> None:
    query = b"SELECT number, repeat('x', 100) FROM numbers(100000000000) FORMAT TSV"
    with socket.create_connection(("127.0.0.1", standing.port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(query), query))
        assert connection.recv(12) == b"HTTP/1.1 200"
    client = connect(standing)
    running = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT number, repeat%'"
    deadline = time.monotonic() + 10
    while client.query(running).result_rows != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_was_stored_is_there_after_a_stop(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "store") as store:
        connect(store).command(TABLE)
        connect(store).command("INSERT INTO t VALUES (1, 2)")
    with EmbeddedStore(tmp_path / "store") as store:
        assert connect(store).query("SELECT * FROM t").result_rows == [(1, 2)]


def test_a_store_without_a_path_leaves_nothing(standing: EmbeddedStore) -> None:
    with EmbeddedStore() as other:
        assert other.path.is_dir()
        assert other.path != standing.path
    assert not other.path.exists()
    assert not answers(other.url)


def test_a_stop_ends_queries_in_order(store: EmbeddedStore) -> None:
    failed: list[str | None] = []

    def ask_long() -> None:
        with pytest.raises(DatabaseError) as caught:
            connect(store).query("SELECT sum(sipHash64(number)) FROM numbers(100000000000) SETTINGS max_threads = 1")
        failed.append(caught.value.name)

    asking = threading.Thread(target=ask_long)
    asking.start()
    time.sleep(0.5)
    process = store._child
    assert process is not None
    store.stop()
    asking.join()
    assert failed == ["QUERY_WAS_CANCELLED"]
    assert process.returncode == 0


def test_a_refused_body_is_not_taken_for_the_next_request(standing: EmbeddedStore) -> None:
    smuggled = b"GET /?query=SELECT+1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for refused in (b"POST /elsewhere HTTP/1.1\r\nHost: localhost", b"POST / HTTP/1.1\r\nHost: somewhere.example"):
        with socket.create_connection(("127.0.0.1", standing.port)) as connection:
            connection.sendall(refused + b"\r\nContent-Length: %d\r\n\r\n%b" % (len(smuggled), smuggled))
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"Connection: close" in answer


def test_a_connection_serves_one_request_after_another(standing: EmbeddedStore) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", standing.port)
    for statement, status in (("SELECT 1", 200), ("SELEC 1", 400), ("SELECT 2", 200)):
        connection.request("POST", "/", statement)
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (status, False)
        answer.read()
    connection.close()


def test_a_store_in_use_is_refused_in_one_sentence(standing: EmbeddedStore) -> None:
    command = [sys.executable, "-m", "ops.embedded.endpoint", "--path", str(standing.path), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"the store {str(standing.path)!r} is open in another process; end that one, or connect to it over HTTP"
    ]
    with pytest.raises(StoreUnavailableError, match="is open in another process"):
        EmbeddedStore(standing.path).start()


def test_a_taken_port_is_named(standing: EmbeddedStore) -> None:
    with pytest.raises(StoreUnavailableError, match=f"{standing.port}.* is taken"):
        EmbeddedStore(port=standing.port).start()


def test_only_loopback_is_listened_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ops.embedded.endpoint", "--path", str(tmp_path), "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "'0.0.0.0' is no loopback address" in done.stderr


def test_a_page_in_a_browser_is_refused(standing: EmbeddedStore) -> None:
    assert ask(f"{standing.url}/?query=SELECT+1")[0] == 200
    assert ask(f"{standing.url}/?query=SELECT+1", Origin="http://somewhere.example")[0] == 403
    assert ask(f"{standing.url}/?query=SELECT+1", Host="somewhere.example")[0] == 403


def test_a_link_changes_nothing(standing: EmbeddedStore) -> None:
    connect(standing).command(TABLE)
    assert ask(f"{standing.url}/?query=SELECT+1&max_threads=1") == (200, "1\n")
    for statement in ("INSERT+INTO+t+VALUES+(1,1)", "DROP+TABLE+t", "INSERT+INTO+t+SELECT+1,1"):
        assert "READONLY" in ask(f"{standing.url}/?query={statement}&readonly=0")[1]
    assert connect(standing).query("SELECT count() FROM t").result_rows == [(0,)]


def test_a_configured_password_is_asked_for() -> None:
    with EmbeddedStore(password="open sesame") as store:
        assert connect(store, password="open sesame").query("SELECT 1").result_rows == [(1,)]
        with pytest.raises(DatabaseError) as caught:
            connect(store, password="wrong")
        assert caught.value.name == "AUTHENTICATION_FAILED"
        assert ask(f"{store.url}/?query=SELECT+1")[0] == 403
        assert ask(f"{store.url}/?query=SELECT+1", **{"X-ClickHouse-Key": "open sesame"}) == (200, "1\n")


@pytest.mark.parametrize(
    ("statement", "because"),
    [
        ("SET max_threads = 1", "sessions are not kept"),
        ("USE system", "sessions are not kept"),
        ("CREATE TEMPORARY TABLE x (a Int8)", "temporary tables are not kept"),
        ("SELECT 1 INTO OUTFILE '/tmp/never-written'", "INTO OUTFILE"),
        ("INSERT INTO t FROM INFILE '/etc/hostname' FORMAT TSV", "FROM INFILE"),
        ("INSERT INTO t SELECT a, b FROM input('a UInt64, b UInt32') FORMAT TSV\n1\t1", "input(…)"),
        ("SYSTEM SHUTDOWN", "SIGTERM"),
    ],
)
def test_what_is_not_spoken_is_said(store_url: str, statement: str, because: str) -> None:
    status, text = ask(store_url, statement)
    assert status == 501
    assert text.startswith("Code: 48. DB::Exception: The embedded store does not support this")
    assert because in text


def test_external_data_and_native_compression_are_refused(store_url: str) -> None:
    boundary = "multipart/form-data; boundary=b"
    part = '--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\n1\r\n--b--\r\n'
    assert "external data" in ask(f"{store_url}/?query=SELECT+1", part, **{"Content-Type": boundary})[1]
    assert "'compress'" in ask(f"{store_url}/?compress=1", "SELECT 1")[1]
    assert "Content-Encoding" in ask(store_url, "SELECT 1", **{"Content-Encoding": "br"})[1]


def test_the_store_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Even with one killed outright, and with the thread that started it long gone."""
    program = (
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from ops.embedded.store import EmbeddedStore\n"
        "store = EmbeddedStore(Path(sys.argv[1]))\n"
        "starter = threading.Thread(target=store.start)\n"
        "starter.start(); starter.join(); time.sleep(0.3)\n"
        "print(store.url, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert answers(url)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while answers(url):
        assert time.monotonic() < deadline
        time.sleep(0.05)
