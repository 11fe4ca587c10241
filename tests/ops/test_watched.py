"""Workers on a real Kafka and the embedded store, watched from outside: right numbers, and the truth about the rest."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from ops import child
from ops.embedded.store import EmbeddedStore
from ops.kafka.server import KafkaServer
from ops.roles import Role
from schemas import OutcomeEvent, Result, StepEvent, TopicName
from schemas.metrics import Metric
from streams.home import home_partition
from tests.factories import START, outcome, outcome_event, raw, step
from tests.harness import Path
from tests.ops.processes import soon
from tests.ops.test_health import ask

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
PARTITIONS = 4
RUNS = 10
STEPS = 4
LONG_S = 60.0
SETTINGS = {
    "AGENTRACER_SESSION_TIMEOUT_MS": "30000",  # a broker that is frozen for a while moves no partition
    "AGENTRACER_LIMITS__IDLE_MS": "600000",
    "AGENTRACER_TRACER": "last_step",
}
Sent = tuple[str, int | None, bytes]
"""Key, partition (None for its home), value."""


class Watched:
    """One worker of each role, and what each says of itself."""

    def __init__(self, bootstrap: str, store_url: str) -> None:
        self.path = Path(bootstrap, store_url, **SETTINGS)
        self.ports = {role: child.free_port() for role in Role}

    def start(self, role: Role) -> None:
        self.path.start(role, role, AGENTRACER_HEALTH_PORT=str(self.ports[role]))

    def ready(self, role: Role) -> tuple[int, str]:
        """Return what the worker answers; nothing before it listens."""
        try:
            return ask(self.ports[role], "/readyz")
        except OSError:
            return 0, ""

    def is_alive(self, role: Role) -> bool:
        return ask(self.ports[role], "/healthz") == (200, "alive")

    def become(self, status: int, roles: Iterable[Role] = tuple(Role), *words: str) -> None:
        for role in roles:
            said = soon(lambda: self._is(role, status, words), LONG_S)  # noqa: B023 - called at once
            assert said, (role, self.ready(role), self.path.workers[role].log.read_text()[-3000:])

    def _is(self, role: Role, status: int, words: Iterable[str]) -> bool:
        found, text = self.ready(role)
        return found == status and all(word in text for word in words)

    def numbers(self, role: Role) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        _, text = ask(self.ports[role], "/metrics")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, role: Role, name: str, **labels: str) -> float:
        """Return a sample, or the sum over those that have these labels."""
        wanted = set(labels.items())
        return sum(number for (one, has), number in self.numbers(role).items() if one == name and wanted <= has)

    def series(self, role: Role, name: str) -> int:
        """Count the samples of a name."""
        return sum(one == name for one, _ in self.numbers(role))

    def tell(self, role: Role, expected: dict[tuple[str, ...], float]) -> None:
        """Wait until the worker tells these numbers."""

        def told() -> dict[tuple[str, ...], float]:
            return {key: self.value(role, key[0], **dict(one.split("=") for one in key[1:])) for key in expected}

        soon(lambda: told() == expected, LONG_S)
        assert told() == expected


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore() as store:
        yield store


@pytest.fixture
def watched(own_kafka: KafkaServer, store: EmbeddedStore) -> Iterator[Watched]:
    watched = Watched(own_kafka.bootstrap, store.url)
    with watched.path:
        yield watched


async def send(bootstrap: str, sent: Iterable[Sent]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for key, partition, value in sent:
            at = home_partition(key, PARTITIONS) if partition is None else partition
            await producer.send_and_wait(TopicName.STEP_EVENTS, value, key=key.encode(), partition=at)
    finally:
        await producer.stop()


def whole(trajectory_id: str, result: Result) -> list[Sent]:
    """Return a run that ends at once, its outcome with its last step."""
    steps: list[StepEvent | OutcomeEvent] = [
        step(trajectory_id, index, final=index == STEPS - 1, outcome=outcome(result) if index == STEPS - 1 else None)
        for index in range(STEPS)
    ]
    return [(trajectory_id, None, raw(one)) for one in steps]


def load() -> Iterator[Sent]:
    """Yield ten whole runs of which half fail, a repeated event, bad ones, one that went astray and an open run."""
    for number in range(RUNS):
        yield from whole(f"w-{number}", Result.FAILURE if number % 2 else Result.SUCCESS)
    yield "w-1", None, raw(step("w-1", 0))
    yield from [("bad", None, b"{no json"), ("bad", None, b"{no json"), ("bad", None, b"")]
    astray = (home_partition("f-0", PARTITIONS) + 1) % PARTITIONS
    yield "f-0", astray, raw(step("f-0", 0, final=True))
    yield "o-0", None, raw(step("o-0", 0))


def late() -> Iterator[Sent]:
    """Yield a thumb down for a run that had succeeded."""
    yield "w-0", None, raw(outcome_event("w-0", Result.FAILURE, at=START + timedelta(hours=2)))


async def test_workers_tell_right_numbers_and_whether_they_can_work(
    watched: Watched, own_kafka: KafkaServer, store: EmbeddedStore
) -> None:
    for role in Role:
        watched.start(role)
    for role in Role:
        assert soon(lambda: watched.ready(role)[0] != 0, LONG_S)  # noqa: B023 - called at once
    watched.become(200)
    await send(own_kafka.bootstrap, load())
    watched.tell(Role.SINK, {(Metric.SINK_ROWS, "table=trajectories_raw"): RUNS + 1})
    await send(own_kafka.bootstrap, late())

    watched.tell(
        Role.STREAMS,
        {
            # the one astray is taken in twice: where it came to, and at home
            (Metric.STREAMS_FOLDED,): RUNS * STEPS + 1 + 2 + 1 + 1,
            (Metric.STREAMS_FORWARDED,): 1,
            (Metric.STREAMS_LATE,): 1,
            (Metric.STREAMS_REOPENED,): 1,
            (Metric.STREAMS_CLOSED, "reason=completed"): RUNS + 2,
            (Metric.STREAMS_CLOSED,): RUNS + 2,
            (Metric.STREAMS_ROUTED, "reason=failure"): RUNS / 2 + 1,
            (Metric.STREAMS_READ_BACK, "source=cache"): 1,
            (Metric.STREAMS_READ_BACK,): 1,
            (Metric.STREAMS_DEAD_LETTERS, "reason=not_json"): 2,
            (Metric.STREAMS_DEAD_LETTERS, "reason=empty"): 1,
            (Metric.STREAMS_DEAD_LETTERS,): 3,
            (Metric.STREAMS_FENCED,): 0,
            (Metric.STREAMS_OPEN,): 1,
            (Metric.STREAMS_MARKERS,): RUNS + 1,
            (Metric.STREAMS_LAG,): 0,
        },
    )
    watched.tell(
        Role.TRACER,
        {
            (Metric.TRACER_VERDICTS, "status=attributed"): RUNS / 2 + 1,
            (Metric.TRACER_VERDICTS,): RUNS / 2 + 1,
            (Metric.TRACER_ATTEMPTS,): RUNS / 2 + 1,
            (f"{Metric.TRACER_QUEUED}_count",): RUNS / 2 + 1,
            (f"{Metric.TRACER_TRACED}_count",): RUNS / 2 + 1,
            (Metric.TRACER_DEAD_LETTERS,): 0,
            (Metric.TRACER_WINDOW,): 0,
            (Metric.TRACER_WINDOW_BYTES,): 0,
            (Metric.TRACER_IN_WORK,): 0,
            (Metric.TRACER_OLDEST,): 0,
            (Metric.TRACER_LAG,): 0,
        },
    )
    watched.tell(
        Role.SINK,
        {
            (Metric.SINK_ROWS, "table=trajectories_raw"): RUNS + 2,
            (Metric.SINK_ROWS, "table=steps_raw"): (RUNS + 1) * STEPS + 1,
            (Metric.SINK_ROWS, "table=verdicts_raw"): RUNS / 2 + 1,
            (Metric.SINK_ROWS, "table=dead_letters_raw"): 3,
            (Metric.SINK_ROWS, "table=outcomes_raw"): 1,
            (Metric.SINK_DEAD_LETTERS,): 0,
            (Metric.SINK_RETRIED,): 0,
            (Metric.SINK_STORE_AWAY,): 0,
            (Metric.SINK_BATCH_BYTES,): 0,
            (Metric.SINK_LAG,): 0,
        },
    )
    assert watched.series(Role.STREAMS, Metric.STREAMS_LAG) == PARTITIONS
    assert watched.series(Role.TRACER, Metric.TRACER_LAG) > 0
    assert watched.series(Role.SINK, Metric.SINK_LAG) > PARTITIONS
    for name in (Metric.STREAMS_CHECKPOINT_TIME, Metric.STREAMS_CHECKPOINT_BYTES, Metric.STREAMS_CHECKPOINT_RECORDS):
        assert watched.value(Role.STREAMS, f"{name}_sum") > 0
    assert watched.value(Role.STREAMS, Metric.STREAMS_OPEN_BYTES) >= len(raw(step("o-0", 0)))
    assert watched.value(Role.STREAMS, Metric.STREAMS_MARKER_BYTES) > 0
    assert watched.value(Role.SINK, f"{Metric.SINK_INSERT_TIME}_count", table="steps_raw") > 0

    store.stop()
    await send(own_kafka.bootstrap, whole("w-10", Result.SUCCESS))
    watched.become(503, [Role.SINK], "the store is away")
    assert watched.value(Role.SINK, Metric.SINK_STORE_AWAY) == 1
    assert soon(lambda: watched.value(Role.SINK, Metric.SINK_LAG) >= 1)
    watched.become(200, [Role.STREAMS, Role.TRACER])
    assert watched.is_alive(Role.SINK)
    store.start()
    watched.become(200)
    watched.tell(Role.SINK, {(Metric.SINK_STORE_AWAY,): 0, (Metric.SINK_LAG,): 0})
    assert watched.value(Role.SINK, Metric.SINK_RETRIED) >= 1

    own_kafka.pause()
    watched.become(503, Role, "no answer from the broker for ")
    assert all(watched.is_alive(role) for role in Role)
    own_kafka.resume()
    watched.become(200)


async def test_a_worker_is_not_ready_before_it_is_in_its_group_and_without_work_it_is_a_standby(
    watched: Watched, own_kafka: KafkaServer
) -> None:
    own_kafka.pause()
    watched.start(Role.TRACER)
    watched.become(503, [Role.TRACER], "no partitions assigned")
    assert watched.is_alive(Role.TRACER)
    own_kafka.resume()
    watched.become(200, [Role.TRACER])
    assert not watched.value(Role.TRACER, Metric.TRACER_LAG)
