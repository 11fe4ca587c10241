"""The whole path as processes on a real Kafka and the embedded store, to be killed, frozen and compared.

Truth is the sender's ledger; it is held against what stands on the topics (read committed, every record) and
against the store, as sets.
"""

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops.client import apply_topics, publish
from ops.pipeline import DATABASE, Worker
from ops.progress import look
from ops.query import connect
from ops.recorded.run import RecordedRun, recorded
from ops.roles import Role
from ops.send import Ledger, Outgoing, plan
from schemas import OutcomeEvent, Result, StepEvent, TopicName, Trajectory
from streams.migrate import migrate
from tests.factories import START, outcome, outcome_event, step

SESSION_MS = 3_000
SETTINGS = {
    "AGENTRACER_CHECKPOINT_MS": "300",
    "AGENTRACER_FETCH_WAIT_MS": "100",
    "AGENTRACER_SESSION_TIMEOUT_MS": str(SESSION_MS),
    "AGENTRACER_HEARTBEAT_MS": "700",
    "AGENTRACER_SINK_FLUSH_MS": "200",
    "AGENTRACER_LIMITS__GRACE_MS": "1000",
    "AGENTRACER_LIMITS__IDLE_MS": "8000",
}
Revision = tuple[str, int, int]
"""Trajectory id, opened at (ms), revision."""


def runs(prefix: str, count: int, steps: int = 8) -> Iterator[RecordedRun]:
    """Yield runs: half fail; of every third the outcome is an event of its own, behind the last step."""
    for number in range(count):
        trajectory_id = f"{prefix}-{number}"
        result = Result.FAILURE if number % 2 else Result.SUCCESS
        alone = number % 3 == 0
        events: list[StepEvent | OutcomeEvent] = [
            step(trajectory_id, index, final=index == steps - 1, outcome=_last(index, steps, result, alone=alone))
            for index in range(steps)
        ]
        if alone:
            events.append(outcome_event(trajectory_id, result, at=START + timedelta(minutes=number)))
        yield RecordedRun(trajectory_id, tuple(map(recorded, events)))


def _last(index: int, steps: int, result: Result, *, alone: bool) -> object:
    return outcome(result) if index == steps - 1 and not alone else None


class OnTopic(NamedTuple):
    """What stands on a topic of trajectories."""

    revisions: Counter[Revision]
    steps: dict[Revision, list[tuple[str, str]]]

    @property
    def latest(self) -> dict[tuple[str, int], int]:
        """The highest revision of each run."""
        found: dict[tuple[str, int], int] = {}
        for trajectory_id, opened, revision in self.revisions:
            found[trajectory_id, opened] = max(revision, found.get((trajectory_id, opened), 0))
        return found


class Path:
    """Workers by name on one broker and one store."""

    def __init__(self, bootstrap: str, store_url: str, **settings: str) -> None:
        self.bootstrap = bootstrap
        self.clickhouse = f"{store_url}/{DATABASE}"
        self._settings = SETTINGS | settings
        self.workers: dict[str, Worker] = {}

    def prepare(self) -> None:
        """Make topics and tables."""
        asyncio.run(apply_topics(self.bootstrap, partitions=4, replicas=1))
        with connect(self.clickhouse) as client:
            migrate(client, DATABASE)

    def start(self, role: Role, name: str, **settings: str) -> Worker:
        """Start one worker."""
        environment = {
            **os.environ,
            **self._settings,
            **settings,
            "AGENTRACER_BOOTSTRAP": self.bootstrap,
            "AGENTRACER_CLICKHOUSE_URL": self.clickhouse,
        }
        self.workers[name] = Worker(role, environment)
        return self.workers[name]

    def kill(self, name: str) -> None:
        """End a worker by kill -9 and start it again."""
        self.workers[name].process.kill()
        self.workers[name].restart()

    def freeze(self, name: str) -> None:
        """Stop a worker where it stands."""
        self.workers[name].process.send_signal(signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """Let a frozen worker go on."""
        self.workers[name].process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.prepare()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.process.send_signal(signal.SIGCONT)
            worker.drain()

    def stored(self, prefix: str) -> int:
        """Return how many steps of the runs with this prefix are in the store."""
        with connect(self.clickhouse) as client:
            found = client.query(
                "SELECT count() FROM steps WHERE startsWith(trajectory_id, {prefix:String})", {"prefix": prefix}
            )
        return int(found.result_rows[0][0])

    def settle(self, ledger: Ledger, within_s: float = 90.0) -> None:
        """Wait until the store holds the ledger, with its verdicts."""
        deadline = time.monotonic() + within_s
        with connect(self.clickhouse) as client:
            while True:
                progress = look(client, ledger)
                if progress.is_done:
                    return
                if time.monotonic() > deadline:
                    missing = sorted(progress.missing)[:5]
                    counts = (progress.stored, len(progress.runs), progress.verdicts, progress.traced)
                    logs = {name: worker.log.read_text()[-1500:] for name, worker in self.workers.items()}
                    raise AssertionError(f"missing {missing}, {counts}: {logs}")
                time.sleep(0.3)


class Sender(threading.Thread):
    """Sends runs at a pace, on a thread of its own."""

    def __init__(self, bootstrap: str, sent: Iterable[RecordedRun], rate: float, seed: int = 1) -> None:
        super().__init__(daemon=True)
        self.ledger = Ledger()
        self._address = bootstrap
        self._rate = rate
        self._events: Iterator[Outgoing] = plan(
            list(sent), concurrency=60, shuffle=True, duplicate=0.1, rng=random.Random(seed)
        )

    def run(self) -> None:
        asyncio.run(publish(self._address, self._events, rate=self._rate, ledger=self.ledger))

    def finish(self) -> Ledger:
        """Wait until all is sent; return what was acknowledged."""
        self.join(120)
        assert not self.is_alive()
        assert not self.ledger.refused
        return self.ledger


def on_topic(bootstrap: str, topic: TopicName, prefix: str) -> OnTopic:
    """Read a topic of trajectories whole, committed records only."""
    return asyncio.run(_on_topic(bootstrap, topic, prefix))


async def _on_topic(bootstrap: str, topic: TopicName, prefix: str) -> OnTopic:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    places = [TopicPartition(topic, partition) for partition in range(4)]
    ends = await consumer.end_offsets(places)
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    found = OnTopic(Counter(), {})
    while any([await consumer.position(place) < end for place, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=300)).values():
            for record in records:
                _enter(found, Trajectory.model_validate_json(record.value), prefix)
    await consumer.stop()
    return found


def _enter(found: OnTopic, one: Trajectory, prefix: str) -> None:
    if one.trajectory_id.startswith(prefix):
        key = (one.trajectory_id, round(one.opened_at.timestamp() * 1000), one.revision)
        found.revisions[key] += 1
        found.steps[key] = [(event.trajectory_id, event.event_id) for event in one.steps]


def assert_exact(path: Path, ledger: Ledger, prefix: str) -> None:
    """Hold the ledger against the topics and the store, as sets, and verdicts against failed revisions."""
    expected = set(ledger.steps)
    published = on_topic(path.bootstrap, TopicName.TRAJECTORIES, prefix)
    assert max(published.revisions.values()) == 1, "a revision was published twice"
    ids = Counter(one for one, _ in published.latest)
    assert max(ids.values()) == 1, "a run was opened twice"
    last = [published.steps[one, opened, revision] for (one, opened), revision in published.latest.items()]
    flat = [pair for steps in last for pair in steps]
    assert len(flat) == len(set(flat)), "a step stands twice in a revision"
    assert set(flat) == expected
    assert all(steps == sorted(steps, key=lambda pair: int(pair[1].rsplit("-", 1)[1])) for steps in last)
    failed = on_topic(path.bootstrap, TopicName.FAILED_TRAJECTORIES, prefix)
    with connect(path.clickhouse) as client:
        stored = client.query(
            "SELECT trajectory_id, event_id FROM steps WHERE startsWith(trajectory_id, {prefix:String})",
            {"prefix": prefix},
        ).result_rows
        verdicts = client.query(
            "SELECT trajectory_id, toUnixTimestamp64Milli(opened_at), revision FROM verdicts "
            "WHERE startsWith(trajectory_id, {prefix:String})",
            {"prefix": prefix},
        ).result_rows
    assert len(stored) == len(expected)
    assert {(str(one), str(event)) for one, event in stored} == expected
    standing = Counter((str(one), int(opened), int(revision)) for one, opened, revision in verdicts)
    assert max(standing.values()) == 1
    assert set(standing) == set(failed.revisions), "one standing verdict a failed revision"
