"""A topic full of rubbish and a real worker: it stops, writes nothing of it, and goes on exactly when it may."""

import asyncio
import re
from collections.abc import Iterable

import pytest

from ops.roles import Role
from schemas import Event
from tests.conftest import Broker
from tests.factories import outcome, raw, step
from tests.streams.real import Process, Sent, by_address, letters, remake_topics, send, trajectories

pytestmark = pytest.mark.kafka
RUBBISH = 5_000
LET_PAST = {"AGENTRACER_BRAKE__CONSECUTIVE": "100000"}


@pytest.fixture
def broker(kafka_alone: Broker) -> str:
    asyncio.run(remake_topics(kafka_alone.bootstrap, 1))
    return kafka_alone.bootstrap


def _run(trajectory_id: str) -> list[bytes]:
    events: Iterable[Event] = (
        step(trajectory_id, index, final=index == 2, outcome=outcome() if index == 2 else None) for index in range(3)
    )
    return [raw(event) for event in events]


def _send(broker: str, *values: bytes) -> None:
    asyncio.run(send(broker, *map(Sent, values)))


def test_a_topic_full_of_rubbish_stops_the_worker_however_often_it_is_started_and_then_goes_on_exactly(
    broker: str,
) -> None:
    rubbish = [b"rubbish %d" % number for number in range(RUBBISH)]
    _send(broker, *_run("before"), *rubbish, *_run("after"))
    for _ in range(3):  # as a supervisor does
        said = Process(Role.STREAMS, broker).ends(6)
        assert "partition 0 of step-events is full of rubbish: " in said
        assert re.search(r"the first at offset \d+, most of them 'not_json'; mend the sender", said)
        assert len(letters(broker)) < 1_000
    with Process(Role.STREAMS, broker, **LET_PAST) as worker:
        worker.until(lambda: len(trajectories(broker)) == 2)
    assert {one.offset: one.value for one in by_address(letters(broker)).values()} == dict(enumerate(rubbish, 3))
    assert sorted(one.trajectory_id for one in trajectories(broker)) == ["after", "before"]
    assert all(len(one.steps) == 3 for one in trajectories(broker))


def test_rubbish_that_trickles_in_is_counted_across_restarts(broker: str) -> None:
    for number in range(2):
        _send(broker, *[b"rubbish"] * 400)
        with Process(Role.STREAMS, broker) as worker:
            worker.until(lambda so_far=400 * (number + 1): len(letters(broker)) == so_far)  # type: ignore[misc]
    _send(broker, *[b"rubbish"] * 400)
    for _ in range(2):
        said = Process(Role.STREAMS, broker).ends(6)
        assert "full of rubbish: 1200 of the last 1200 lines are no events, the first at offset 0," in said
        assert len(letters(broker)) == 800
    with Process(Role.STREAMS, broker, AGENTRACER_BRAKE__ENABLED="false") as worker:
        worker.until(lambda: len(letters(broker)) == 1_200)
    assert len(by_address(letters(broker))) == 1_200


def test_a_bad_sender_among_good_ones_stops_nobody(broker: str) -> None:
    values = [value for number in range(500) for value in (*_run(f"t-{number}"), b"rubbish", b"{}", b"\xff")]
    _send(broker, *values)
    with Process(Role.STREAMS, broker, AGENTRACER_BRAKE__WINDOW="500", AGENTRACER_BRAKE__RATIO="0.6") as worker:
        worker.until(lambda: len(trajectories(broker)) == 500)
    assert len(by_address(letters(broker))) == 1_500


def test_one_record_of_a_million_bad_lines_is_a_thousand_letters_and_its_rest(broker: str) -> None:
    header = (("content-type", b"application/x-ndjson"),)
    record = b"\n".join(b"x" for _ in range(1_000_000)) + b"\n" + _run("hidden")[0]
    asyncio.run(send(broker, Sent(record, headers=header), *_run("after")))
    with Process(Role.STREAMS, broker) as worker:
        worker.until(lambda: len(trajectories(broker)) == 1)
        assert worker.peak_mb < 400
    found = by_address(letters(broker))
    assert len(found) == 1_001
    assert b"\n".join(one.value or b"" for one in found.values()) == record
