"""The guarantees on a real Kafka: whatever is killed, frozen, joins or leaves, the store equals the ledger."""

import time
from collections.abc import Iterator

import pytest

from ops.roles import Role
from tests.conftest import Broker
from tests.harness import SESSION_MS, Path, Sender, assert_exact, runs

pytestmark = pytest.mark.kafka
RATE = 400.0
COUNT = 600


@pytest.fixture
def path(kafka_alone: Broker, store_url: str) -> Iterator[Path]:
    with Path(kafka_alone.bootstrap, store_url) as path:
        yield path


def _start_all(path: Path) -> None:
    path.start(Role.STREAMS, "streams", AGENTRACER_INSTANCE_ID="streams-a")
    path.start(Role.TRACER, "tracer")
    path.start(Role.SINK, "sink")


def _wait_for_stored(path: Path, prefix: str, count: int) -> None:
    """Wait until so many steps have come all the way, so that what follows hits work under way."""
    deadline = time.monotonic() + 60
    while path.stored(prefix) < count:
        assert time.monotonic() < deadline, "the path stands still"
        time.sleep(0.05)


def test_a_kill_of_each_role_in_mid_work_loses_and_doubles_nothing(path: Path) -> None:
    _start_all(path)
    sender = Sender(path.bootstrap, runs("kill", COUNT), RATE)
    sender.start()
    for victim, after in (("streams", 100), ("sink", 600), ("tracer", 1200), ("streams", 1800), ("sink", 2400)):
        _wait_for_stored(path, "kill", after)
        path.kill(victim)
    ledger = sender.finish()
    path.settle(ledger)
    assert_exact(path, ledger, "kill")


def test_a_worker_frozen_past_its_session_timeout_and_woken_writes_nothing_more(path: Path) -> None:
    _start_all(path)
    path.start(Role.STREAMS, "other", AGENTRACER_INSTANCE_ID="streams-b")
    sender = Sender(path.bootstrap, runs("freeze", COUNT), RATE)
    sender.start()
    _wait_for_stored(path, "freeze", 600)
    path.freeze("streams")
    time.sleep(SESSION_MS / 1000 + 3)
    path.wake("streams")
    ledger = sender.finish()
    path.settle(ledger)
    assert_exact(path, ledger, "freeze")
    path.workers["streams"].check()
    assert "partition fenced" in path.workers["streams"].log.read_text(), "it had work in hand, and could not write it"


def test_a_second_worker_joins_and_leaves_without_a_trace(path: Path) -> None:
    path.start(Role.STREAMS, "streams")
    path.start(Role.TRACER, "tracer")
    path.start(Role.SINK, "sink")
    sender = Sender(path.bootstrap, runs("join", COUNT), RATE)
    sender.start()
    _wait_for_stored(path, "join", 300)
    path.start(Role.STREAMS, "second")
    _wait_for_stored(path, "join", 2400)
    path.workers["second"].drain()
    ledger = sender.finish()
    path.settle(ledger)
    assert_exact(path, ledger, "join")
