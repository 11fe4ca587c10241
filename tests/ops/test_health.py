"""What answers probes: from outside, over a socket, whatever is sent to it."""

import asyncio
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops import child
from ops.health import HealthSettings, own_port, watched
from ops.roles import Role
from schemas.errors import SettingsError
from schemas.health import Health, Part
from schemas.metrics import UNMETERED, Metric
from tests.ops.processes import agentracer, assert_one_sentence, soon

GARBAGE = [
    b"",
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a client that speaks TLS
    b"GET\r\n\r\n",
    b"GET /readyz HTTP/9.9\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nHost\r\n\r\n",
    b"GET //[::1 HTTP/1.1\r\n\r\n",
    b"GET /\xff\xfe\x00 HTTP/1.1\r\n\r\n",
    b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * 100_000),
    b"GET /readyz HTTP/1.1\r\n" + b"X-Header: y\r\n" * 500 + b"\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n{",
    b"\x00" * 70_000,
    b"GET /readyz HTTP/1.1\r\nHost: x",  # and no more
]


def ask(port: int, path: str) -> tuple[int, str]:
    """Return an answer's status and text."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode().strip()


@contextmanager
def serving(health_still_s: float = 120.0) -> Iterator[tuple[int, Health]]:
    port = child.free_port()
    settings = HealthSettings(health_port=port, health_host="127.0.0.1", health_still_s=health_still_s)
    with watched(Role.SINK, settings) as (_, health):
        yield port, health


def test_a_worker_is_ready_when_nothing_is_in_its_way_and_the_answer_says_what_is() -> None:
    with serving() as (port, health):
        assert ask(port, "/healthz") == (200, "alive")
        assert ask(port, "/readyz") == (503, "no partitions assigned")
        health.ready(Part.PARTITIONS)
        assert ask(port, "/readyz") == (200, "ready")
        health.ready(Part.STORE, "the store is away")
        assert ask(port, "/readyz") == (503, "the store is away")
        assert ask(port, "/healthz") == (200, "alive")


def test_the_reason_stands_in_the_status_line_where_a_probes_log_shows_it() -> None:
    with serving() as (port, _), pytest.raises(urllib.error.HTTPError, match="503: no partitions assigned") as raised:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30)
    raised.value.close()


def test_a_loop_that_is_blocked_is_seen_to_be_and_goes_on_being_alive_when_it_turns_again() -> None:
    released = threading.Event()

    async def role(health: Health, stop: asyncio.Event) -> None:
        while not stop.is_set():
            health.beat()
            await asyncio.sleep(0.01)

    async def worker(health: Health) -> None:
        stop = asyncio.Event()
        beating = asyncio.create_task(role(health, stop))
        await asyncio.to_thread(soon, lambda: ask(port, "/healthz")[0] == 200)
        released.wait(60)  # the whole loop stands still
        await asyncio.to_thread(soon, lambda: ask(port, "/healthz")[0] == 200)
        stop.set()
        await beating

    with serving(health_still_s=0.5) as (port, health), ThreadPoolExecutor() as threads:
        running = threads.submit(asyncio.run, worker(health))
        assert soon(lambda: ask(port, "/healthz")[0] == 503)
        assert ask(port, "/healthz")[1].startswith("the loop has stood still for ")
        released.set()
        assert soon(lambda: ask(port, "/healthz") == (200, "alive"))
        running.result(60)


def test_metrics_are_the_roles_own_and_a_query_behind_a_path_changes_nothing() -> None:
    with serving() as (port, _):
        for path in ("/metrics", "/metrics?name[]=x"):
            status, text = ask(port, path)
            assert status == 200
            names = {family.name for family in text_string_to_metric_families(text)}
            assert Metric.SINK_STORE_AWAY in names
            assert not any(name.startswith(("streams_", "tracer_")) for name in names)


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/", "/READYZ", "/../etc/passwd"])
def test_anything_else_is_not_there(path: str) -> None:
    with serving() as (port, _):
        assert ask(port, path)[0] == 404


def test_rubbish_costs_a_connection_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as (port, _):
        held = [socket.create_connection(("127.0.0.1", port)) for _ in GARBAGE]
        for one, rubbish in zip(held, GARBAGE, strict=True):
            with one:
                try:
                    one.sendall(rubbish)
                    one.shutdown(socket.SHUT_WR)
                    while one.recv(65_536):
                        pass
                except OSError:  # it was let go in the middle
                    pass
        assert ask(port, "/healthz") == (200, "alive")
    assert capfd.readouterr() == ("", "")


def test_clients_that_say_nothing_hold_nobody_up() -> None:
    with serving() as (port, _):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(lambda _: ask(port, "/metrics")[0], range(100)))
        assert answers == [200] * 100
        for one in silent:
            one.close()


def test_the_port_is_free_again_at_the_end() -> None:
    with serving() as (port, _):
        assert not child.is_free(port)
    assert child.is_free(port)


def test_without_a_port_nothing_listens_and_nothing_is_kept() -> None:
    with watched(Role.SINK, HealthSettings(health_port=None)) as (metrics, health):
        assert metrics is UNMETERED
        health.beat()


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "\N{SNOWMAN}." * 100])
def test_an_address_that_can_not_be_listened_on_is_one_sentence(host: str) -> None:
    with serving() as (port, _):
        settings = HealthSettings(health_port=port, health_host=host)
        with (
            pytest.raises(SettingsError, match=r"can't be listened on .*: end what listens there, or set AGENTRACER_H"),
            watched(Role.SINK, settings),
        ):
            pass


def test_a_worker_whose_port_is_taken_ends_with_one_sentence_before_it_looks_for_a_broker() -> None:
    with serving() as (port, _):
        done = agentracer("worker", "tracer", AGENTRACER_HEALTH_PORT=str(port), AGENTRACER_BOOTSTRAP="127.0.0.1:1")
    assert_one_sentence(done, 2, f"the port {port} of '127.0.0.1' can't be listened on", "in use")


def test_roles_of_one_machine_have_ports_of_their_own_where_one_is_asked_for() -> None:
    asked = {"AGENTRACER_HEALTH_PORT": "9464"}
    assert [own_port(role, asked) for role in Role] == [{"AGENTRACER_HEALTH_PORT": str(9464 + n)} for n in range(3)]
    for none in ({}, {"AGENTRACER_HEALTH_PORT": ""}, {"AGENTRACER_HEALTH_PORT": "http"}):
        assert own_port(Role.SINK, none) == {}


@pytest.mark.timeout(180)
def test_a_whole_path_on_one_machine_starts_with_a_port_asked_for() -> None:
    port = next(first for first in iter(child.free_port, None) if all(map(child.is_free, range(first, first + 3))))
    done = agentracer("demo", "--runs", "3", "--json", AGENTRACER_HEALTH_PORT=str(port))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_is_none_is_one_sentence(port: str) -> None:
    done = agentracer("worker", "sink", AGENTRACER_HEALTH_PORT=port)
    assert_one_sentence(done, 2, "AGENTRACER_HEALTH_PORT is", port)


def test_an_empty_port_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRACER_HEALTH_PORT", "")
    assert HealthSettings().health_port is None


def test_a_worker_listens_on_loopback_alone_unless_told_otherwise() -> None:
    assert HealthSettings.model_fields["health_host"].default == "127.0.0.1"
    assert HealthSettings.model_fields["health_port"].default is None
