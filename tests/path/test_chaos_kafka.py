"""A small chaos on a real Kafka: two streams workers, a tracer and a sink, killed, frozen and ended at random.

The seed fixes what happens and in which order; a failure says which. `AGENTRACER_CHAOS_SEEDS=3,4` runs others.
"""

import os
import random
import time
from collections.abc import Iterator

import pytest

from ops.roles import Role
from tests.conftest import Broker
from tests.harness import Path, Sender, assert_exact, runs

pytestmark = pytest.mark.kafka
SEEDS = [int(seed) for seed in os.environ.get("AGENTRACER_CHAOS_SEEDS", "12").split(",")]
ROLES = {"first": Role.STREAMS, "second": Role.STREAMS, "tracer": Role.TRACER, "sink": Role.SINK}
COUNT = 700
RATE = 300.0


@pytest.fixture
def path(kafka_alone: Broker, store_url: str) -> Iterator[Path]:
    with Path(kafka_alone.bootstrap, store_url) as path:
        yield path


def _strike(path: Path, rng: random.Random) -> tuple[str, str]:
    """Do one thing to one worker; the streams workers are hit twice as often."""
    name = rng.choice([*ROLES, "first", "second"])
    what = rng.choice(["kill", "kill", "freeze", "end"])
    if what == "kill":
        path.kill(name)
    elif what == "freeze":
        path.freeze(name)
        time.sleep(rng.uniform(1, 6))
        path.wake(name)
    else:
        path.workers[name].drain()
        path.workers[name].restart()
    return what, name


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_left_without_its_verdict(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for name, role in ROLES.items():
        static = {"AGENTRACER_INSTANCE_ID": name} if seed % 2 else {}
        path.start(role, name, **static)
    prefix = f"chaos{seed}"
    sender = Sender(path.bootstrap, runs(prefix, COUNT), RATE, seed)
    sender.start()
    while path.stored(prefix) < 50:
        time.sleep(0.05)
    strikes = []
    while sender.is_alive():
        time.sleep(rng.uniform(0.3, 2.5))
        strikes.append(_strike(path, rng))
        for worker in path.workers.values():
            worker.check()
    ledger = sender.finish()
    assert len(strikes) >= 3
    path.settle(ledger)
    assert_exact(path, ledger, prefix)
