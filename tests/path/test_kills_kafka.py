"""The guarantees on a real Kafka: whatever is killed, frozen, joins or leaves, the store equals the ledger."""

import time
from collections.abc import Iterator

import pytest

from ops.pipeline import Role
from tests.conftest import Broker
from tests.harness import SESSION_MS, Path, Sender, assert_exact, runs

pytestmark = pytest.mark.kafka
RATE = 400.0
COUNT = 400


@pytest.fixture
def path(kafka_alone: Broker, store_url: str) -> Iterator[Path]:
    with Path(kafka_alone.bootstrap, store_url) as path:
        yield path


def _start_all(path: Path) -> None:
    path.start(Role.STREAMS, "streams", AGENTRACER_INSTANCE_ID="streams-a")
    path.start(Role.TRACER, "tracer")
    path.start(Role.SINK, "sink")


def _wait_for_steps(path: Path, sender: Sender, count: int) -> None:
    """Wait until work is under way and has come through once, so that a kill hits it in the middle."""
    deadline = time.monotonic() + 60
    while len(sender.ledger.steps) < count and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_kill_of_each_role_in_mid_work_loses_and_doubles_nothing(path: Path) -> None:
    _start_all(path)
    sender = Sender(path.bootstrap, runs("kill", COUNT), RATE)
    sender.start()
    for victim, after in (("streams", 500), ("sink", 900), ("tracer", 1300), ("streams", 1800), ("sink", 2300)):
        _wait_for_steps(path, sender, after)
        path.kill(victim)
    ledger = sender.finish()
    path.settle(ledger)
    assert_exact(path, ledger, "kill")


def test_a_worker_frozen_past_its_session_timeout_and_woken_writes_nothing_more(path: Path) -> None:
    _start_all(path)
    path.start(Role.STREAMS, "other", AGENTRACER_INSTANCE_ID="streams-b")
    sender = Sender(path.bootstrap, runs("freeze", COUNT), RATE)
    sender.start()
    _wait_for_steps(path, sender, 600)
    path.freeze("streams")
    time.sleep(SESSION_MS / 1000 + 3)
    path.wake("streams")
    ledger = sender.finish()
    path.settle(ledger)
    assert_exact(path, ledger, "freeze")
    path.workers["streams"].check()


def test_a_second_worker_joins_and_leaves_without_a_trace(path: Path) -> None:
    path.start(Role.STREAMS, "streams")
    path.start(Role.TRACER, "tracer")
    path.start(Role.SINK, "sink")
    sender = Sender(path.bootstrap, runs("join", COUNT), RATE)
    sender.start()
    _wait_for_steps(path, sender, 500)
    path.start(Role.STREAMS, "second")
    _wait_for_steps(path, sender, 2000)
    path.workers["second"].drain()
    ledger = sender.finish()
    path.settle(ledger)
    assert_exact(path, ledger, "join")
