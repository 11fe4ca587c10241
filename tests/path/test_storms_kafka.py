"""Revision storms on a real Kafka, every role a process: revisions, verdicts and what was read back, counted.

A burst is one record of many events, so that no pause of the sender can cut it; a storm that is spread waits for each
revision. What should not happen is waited out by a witness: a run of the same partition, sent after the storm, which
closes after the same grace, so once it is stored the storm is over.
"""

import asyncio
import itertools
import random
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from ops import child
from ops.client import publish
from ops.query import Run, connect, trajectory, verdicts
from ops.recorded.run import RecordedRun, recorded
from ops.roles import Role
from ops.send import Outgoing, plan
from schemas import Event, OutcomeEvent, Result, TopicName
from streams.home import home_partition
from tests.conftest import Broker
from tests.factories import outcome, outcome_event, step
from tests.harness import OnTopic, Path, on_topic
from tests.ops.processes import json_of

pytestmark = pytest.mark.kafka
COUNT = 50
RISING = range(1, COUNT + 1)
PARTITIONS = 4
MOST_STEPS = 60
LATE_WINDOW_MS = 1_000
SETTINGS = {
    "AGENTRACER_CHECKPOINT_MS": "100",
    "AGENTRACER_SINK_FLUSH_MS": "50",
    "AGENTRACER_LIMITS__GRACE_MS": "200",
    "AGENTRACER_LIMITS__MAX_STEPS": str(MOST_STEPS),
}


class Storms:
    """The path, and what a test asks of it."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path
        self._port = port
        self._witnesses = itertools.count()

    def start(self, **settings: str) -> None:
        """Start the streams worker, which can be asked for its metrics."""
        self.path.start(Role.STREAMS, "streams", AGENTRACER_HEALTH_PORT=str(self._port), **settings)

    def send(self, *events: Event, batch: int = 1) -> None:
        """Send events in their order, `batch` a record."""
        run = RecordedRun(events[0].trajectory_id, tuple(map(recorded, events)))
        outgoing: Iterator[Outgoing] = plan([run], rng=random.Random(1))
        asyncio.run(publish(self.path.bootstrap, outgoing, ndjson=batch))

    def closed(self, trajectory_id: str, steps: int = 2) -> None:
        """Send a failed run, and wait for its first revision and verdict."""
        last = steps - 1
        events = [step(trajectory_id, index, final=index == last) for index in range(steps)]
        self.send(thumb(trajectory_id, 0), *events, batch=COUNT)
        self.until(lambda: self.revision(trajectory_id) == 1, "the first revision")

    def run(self, trajectory_id: str) -> Run | None:
        """Return what the store has of a run, the one opened last."""
        with connect(self.path.clickhouse) as client:
            return trajectory(client, trajectory_id)

    def revision(self, trajectory_id: str) -> int:
        """Return the latest revision that the store has with its verdict, where one is due."""
        run = self.run(trajectory_id)
        if run is None or (run.trajectory.result == Result.FAILURE and run.verdict is None):
            return 0
        return run.trajectory.revision

    def wait_out(self, trajectory_id: str) -> None:
        """Wait until nothing of a run's partition that was sent before is under way."""
        home = home_partition(trajectory_id, PARTITIONS)
        ids = (f"{trajectory_id}/witness-{number}" for number in self._witnesses)
        witness = next(one for one in ids if home_partition(one, PARTITIONS) == home)
        self.send(step(witness, None, final=True))
        self.until(lambda: self.run(witness) is not None, "the witness")

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + 60
        while not holds():
            for worker in self.path.workers.values():
                worker.check()
            assert time.monotonic() < deadline, f"{what} did not come"
            time.sleep(0.05)

    def published(self, trajectory_id: str, topic: TopicName = TopicName.TRAJECTORIES) -> list[int]:
        """Return the revisions of a run on a topic, each as often as it stands there."""
        found: OnTopic = on_topic(self.path.bootstrap, topic, trajectory_id)
        return sorted(revision for one, _, revision in found.revisions.elements() if one == trajectory_id)

    def counted(self, query: str, trajectory_id: str) -> int:
        """Count rows of the store."""
        with connect(self.path.clickhouse) as client:
            found = client.query(f"SELECT count() FROM {query} = {{id:String}}", {"id": trajectory_id})
        return int(found.result_rows[0][0])

    def verdicts(self, trajectory_id: str) -> tuple[int, int]:
        """Count the standing verdicts of a run, and all that were ever written."""
        by_id = "WHERE trajectory_id"
        return self.counted(f"verdicts {by_id}", trajectory_id), self.counted(f"verdicts_raw {by_id}", trajectory_id)

    def read_backs(self, source: str) -> int:
        """Return how often this worker has needed a published revision again, and found it there."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        name = f'streams_trajectories_read_back_total{{source="{source}"}} '
        return round(sum(float(line.removeprefix(name)) for line in lines if line.startswith(name)))


@pytest.fixture(scope="module")
def storms(kafka_alone: Broker, store_url: str) -> Iterator[Storms]:
    with Path(kafka_alone.bootstrap, store_url, **SETTINGS) as path:
        storms = Storms(path, child.free_port())
        storms.start()
        path.start(Role.TRACER, "tracer", AGENTRACER_TRACER="last_step")
        path.start(Role.SINK, "sink")
        yield storms


def thumb(trajectory_id: str, at_s: int, result: Result = Result.FAILURE) -> OutcomeEvent:
    """Return an outcome with an id of its own, decided so many seconds after an hour after START."""
    at = outcome_event().at + timedelta(seconds=at_s)
    return outcome_event(trajectory_id, result, event_id=f"thumb-{at_s}", at=at)


def test_fifty_thumbs_in_one_burst_make_one_revision_and_one_verdict_and_need_no_reading_back(storms: Storms) -> None:
    storms.closed("burst")
    topic, cache = storms.read_backs("topic"), storms.read_backs("cache")
    storms.send(*(thumb("burst", at_s) for at_s in RISING), batch=COUNT)
    storms.until(lambda: storms.revision("burst") == 2, "the second revision")
    storms.wait_out("burst")
    assert storms.published("burst") == storms.published("burst", TopicName.FAILED_TRAJECTORIES) == [1, 2]
    assert storms.verdicts("burst") == (2, 2)
    assert (storms.read_backs("topic"), storms.read_backs("cache")) == (topic, cache + 1)


def test_a_burst_that_a_new_owner_meets_is_read_back_once(storms: Storms) -> None:
    storms.closed("owner")
    storms.path.kill("streams")
    storms.send(*(thumb("owner", at_s) for at_s in RISING), batch=COUNT)
    storms.until(lambda: storms.revision("owner") == 2, "the second revision")
    storms.wait_out("owner")
    assert storms.published("owner") == [1, 2]
    assert storms.verdicts("owner") == (2, 2)
    assert (storms.read_backs("topic"), storms.read_backs("cache"), storms.read_backs("nowhere")) == (1, 0, 0)


def test_fifty_thumbs_that_are_spread_make_one_revision_each_and_a_verdict_for_every_failed_one(
    storms: Storms,
) -> None:
    storms.closed("spread")
    topic = storms.read_backs("topic")
    results = (Result.SUCCESS, Result.FAILURE)
    for at_s in RISING:
        storms.send(thumb("spread", at_s, results[at_s % 2]))
        storms.until(lambda at_s=at_s: storms.revision("spread") == at_s + 1, f"revision {at_s + 1}")  # type: ignore[misc]
    storms.wait_out("spread")
    assert storms.published("spread") == list(range(1, COUNT + 2))
    failed = storms.published("spread", TopicName.FAILED_TRAJECTORIES)
    assert failed == [1, *range(2, COUNT + 2, 2)]
    assert storms.verdicts("spread") == (len(failed), len(failed))
    assert storms.read_backs("topic") == topic


def test_fifty_older_thumbs_and_one_sent_fifty_times_make_no_revision(storms: Storms) -> None:
    storms.send(thumb("older", COUNT + 1), step("older", 0, final=True), batch=2)
    storms.until(lambda: storms.revision("older") == 1, "the first revision")
    before = [storms.read_backs(source) for source in ("topic", "cache")]
    storms.send(*(thumb("older", at_s) for at_s in RISING), *[thumb("older", COUNT + 1)] * COUNT)
    storms.wait_out("older")
    assert storms.published("older") == [1]
    assert storms.verdicts("older") == (1, 1)
    assert [storms.read_backs(source) for source in ("topic", "cache")] == before
    assert storms.counted("outcomes WHERE trajectory_id", "older") == COUNT + 1
    run = storms.run("older")
    assert run is not None
    assert run.trajectory.result == Result.FAILURE


def test_an_end_that_comes_before_its_fifty_steps_makes_one_revision_with_all_of_them(storms: Storms) -> None:
    before = [step("end-first", index) for index in range(COUNT)]
    random.Random(7).shuffle(before)
    storms.send(step("end-first", COUNT, final=True, outcome=outcome()), *before, batch=COUNT + 1)
    storms.until(lambda: storms.revision("end-first") == 1, "the revision")
    storms.wait_out("end-first")
    assert storms.published("end-first") == [1]
    assert storms.verdicts("end-first") == (1, 1)
    run = storms.run("end-first")
    assert run is not None
    assert [one.event_id for one in run.steps] == [f"end-first-{index}" for index in range(COUNT + 1)]


def test_a_run_that_goes_on_after_its_limit_makes_dead_letters_and_fifty_thumbs_one_revision(storms: Storms) -> None:
    storms.send(*(step("endless", index) for index in range(MOST_STEPS + COUNT)))
    letters = "dead_letters WHERE reason = 'over_limit' AND key"
    storms.until(lambda: storms.counted(letters, "endless") == COUNT, "the dead letters")
    storms.wait_out("endless")
    assert storms.published("endless") == [1]
    assert storms.verdicts("endless") == (0, 0)
    storms.send(*(thumb("endless", at_s) for at_s in RISING), batch=COUNT)
    storms.until(lambda: storms.revision("endless") == 2, "the revision that the outcome makes")
    storms.wait_out("endless")
    assert storms.published("endless") == [1, 2]
    assert storms.verdicts("endless") == (1, 1)
    run = storms.run("endless")
    assert run is not None
    assert (run.trajectory.close_reason, len(run.steps)) == ("too_long", MOST_STEPS)


@pytest.fixture
def short_window(storms: Storms) -> Iterator[Storms]:
    """The day is over in a second."""
    storms.path.workers["streams"].drain()
    storms.start(AGENTRACER_LIMITS__LATE_WINDOW_MS=str(LATE_WINDOW_MS))
    yield storms
    storms.path.workers["streams"].drain()
    storms.start()


def test_an_id_that_comes_back_the_next_day_is_another_run_and_nothing_of_the_first_is_replaced(
    short_window: Storms,
) -> None:
    storms = short_window
    storms.closed("again", steps=2)
    first = storms.run("again")
    assert first is not None
    time.sleep(1.5 * LATE_WINDOW_MS / 1_000)  # the broker's clock decides; nothing can be seen from outside
    storms.closed("again", steps=3)
    storms.until(lambda: storms.verdicts("again") == (2, 2), "the second run's verdict")
    second = storms.run("again")
    assert second is not None
    assert second.trajectory.opened_at > first.trajectory.opened_at
    assert (second.trajectory.revision, len(second.steps)) == (1, 3)
    with connect(storms.path.clickhouse) as client:
        assert trajectory(client, "again", first.trajectory.opened_at) == first
        lines = [one for one in verdicts(client, limit=10_000) if one.trajectory_id == "again"]
    assert {(one.opened_at, one.step_index) for one in lines} == {
        (first.trajectory.opened_at, 1),
        (second.trajectory.opened_at, 2),
    }
    assert storms.counted("dead_letters WHERE key", "again") == 0
    for run in (first, second):
        shown = json_of(
            "show",
            "again",
            "--opened-at",
            str(run.trajectory.opened_at),
            AGENTRACER_CLICKHOUSE_URL=storms.path.clickhouse,
        )
        assert shown["opened_at"] == str(run.trajectory.opened_at)
        assert shown["verdict"]["step_index"] == len(shown["steps"]) - 1 == len(run.steps) - 1
