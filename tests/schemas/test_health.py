"""What a worker says of its health, by a clock of the test's own."""

import pytest

from schemas.health import SILENT_S, STILL_S, Health, Part, silence


class Hand:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def health(hand: Hand) -> Health:
    return Health(hand)


def test_a_worker_is_alive_from_the_start_and_not_ready_before_it_has_partitions(health: Health) -> None:
    assert health.not_alive(1) is None
    assert health.not_ready() == "no partitions assigned"
    health.ready(Part.PARTITIONS)
    assert health.not_ready() is None


def test_a_loop_that_stands_still_is_first_not_ready_then_not_alive(health: Health, hand: Hand) -> None:
    health.ready(Part.PARTITIONS)
    hand.now += STILL_S
    assert health.not_ready() == f"the loop has stood still for {STILL_S:.0f} s"
    assert health.not_alive(60) is None
    hand.now += 50
    assert health.not_alive(60) == "the loop has stood still for 60 s"
    health.beat()
    assert health.not_alive(60) is None
    assert health.not_ready() is None


def test_what_comes_back_hides_nothing_that_is_still_away(health: Health) -> None:
    health.ready(Part.PARTITIONS)
    health.ready(Part.BROKER, "no broker")
    health.ready(Part.STORE, "no store")
    assert health.not_ready() == "no broker; no store"
    health.ready(Part.BROKER)
    assert health.not_ready() == "no store"
    health.ready(Part.BROKER)
    health.ready(Part.STORE)
    assert health.not_ready() is None


def test_a_broker_is_silent_only_after_a_while() -> None:
    assert silence(SILENT_S - 0.1) is None
    assert silence(SILENT_S + 2) == "no answer from the broker for 12 s"
