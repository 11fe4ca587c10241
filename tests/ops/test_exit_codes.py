"""Workers as a supervisor meets them: what they end with, how soon, and what their log says and doesn't.

Every line that a worker writes to standard error is one JSON object, its last words too; what the fleet's agents said
is in none of them.
"""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops.client import apply_topics
from ops.embedded.broker import EmbeddedBroker
from ops.kafka.server import KafkaServer
from ops.pipeline import DATABASE, Worker
from ops.probe import states
from ops.query import connect
from ops.recorded.run import RecordedRun, recorded
from ops.roles import Role
from schemas import Result, TopicName
from streams.migrate import migrate
from streams.state import SOURCE_KEY
from tests.conftest import Broker
from tests.factories import outcome, step
from tests.harness import Path, Sender, assert_exact, on_topic
from tests.ops.processes import COMMAND, ROOT, environment, soon
from tests.ops.test_doctor_broken import produce, state_of
from tracer.kafka import committed_progress
from tracer.progress import Known, decode

CANARY = "canary-3f9c"
NOBODY = "127.0.0.1:1"
NOWHERE = f"http://{NOBODY}/agentracer"
STOP_S = 30.0
"""What a drain may take beside its own work, on a machine that has other things to do."""
QUICK = {"AGENTRACER_START_TIMEOUT_S": "2", "AGENTRACER_SINK_START_S": "2"}
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def telling_runs(prefix: str, count: int, steps: int = 6) -> Iterator[RecordedRun]:
    """Yield failed runs that say the canary wherever an agent, a tool or a judge can say something."""
    for number in range(count):
        trajectory_id = f"{prefix}-{number}"
        events = [
            step(
                trajectory_id,
                index,
                content=f"{CANARY} content",
                input=f"{CANARY} input",
                task=f"{CANARY} task",
                tool={
                    "name": "look_up",
                    "arguments": f"{CANARY} arguments",
                    "result": f"{CANARY} result",
                    "error": f"{CANARY} error",
                },
                attributes={"note": f"{CANARY} attribute"},
                final=index == steps - 1,
                outcome=outcome(Result.FAILURE, reason=f"{CANARY} reason") if index == steps - 1 else None,
            )
            for index in range(steps)
        ]
        yield RecordedRun(trajectory_id, tuple(map(recorded, events)))


def log_of(worker: Worker) -> list[dict[str, Any]]:
    """Return a worker's log; every line of it is one object, and none tells what was said."""
    text = worker.log.read_text()
    assert CANARY not in text
    return [dict(json.loads(line)) for line in text.splitlines()]


def stopped(worker: Worker, number: signal.Signals) -> int:
    """Send a signal and wait for the end."""
    worker.process.send_signal(number)
    return worker.process.wait(STOP_S)


# ---- a signal, under load ----


@pytest.mark.kafka
@pytest.mark.parametrize("number", SIGNALS, ids=[one.name for one in SIGNALS])
def test_each_role_drains_under_load_ends_with_0_and_loses_nothing(
    number: signal.Signals, kafka: Broker, store_url: str
) -> None:
    with Path(kafka.bootstrap, store_url) as path:
        for role in Role:
            path.start(role, role)
        for role in Role:
            prefix = f"drain-{number.name.lower()}-{role}"
            sender = Sender(kafka.bootstrap, telling_runs(prefix, 200), rate=200)
            sender.start()
            assert soon(lambda prefix=prefix: path.stored(prefix) > 20, 60), log_of(path.workers[role])  # type: ignore[misc]
            assert stopped(path.workers[role], number) == 0
            assert any("drain" in line["event"] or "stopped" in line["event"] for line in log_of(path.workers[role]))
            path.workers[role].restart()
            ledger = sender.finish()
            path.settle(ledger)
            assert_exact(path, ledger, prefix)
        for worker in path.workers.values():
            assert stopped(worker, number) == 0
            lines = log_of(worker)
            assert lines
            assert all({"at", "level", "logger", "event"} <= line.keys() for line in lines)


@pytest.mark.kafka
def test_rubbish_and_conflicts_are_told_without_their_content(kafka: Broker, store_url: str) -> None:
    rubbish = [
        f'{{"trajectory_id": "rubbish", "content": {{"{CANARY}": 1}}}}',
        f"{CANARY}, which is no JSON",
        f'{{"trajectory_id": "rubbish-1", "agent": "{CANARY}", "kind": "{CANARY}", "content": "{CANARY}"}}',
        step("rubbish-2", 0, content=CANARY).model_dump_json(),
        step("rubbish-2", 0, content=f"{CANARY}, otherwise").model_dump_json(),
    ]
    with Path(kafka.bootstrap, store_url) as path:
        for role in Role:
            path.start(role, role)
        for line in rubbish:
            produce(kafka.bootstrap, TopicName.STEP_EVENTS, b"rubbish", line.encode(), partition=0)
        query = "SELECT count() FROM dead_letters WHERE position(value, {canary:String}) > 0"
        with connect(path.clickhouse) as client:
            assert soon(lambda: client.query(query, {"canary": CANARY}).result_rows[0][0] == 4, 60)
        for worker in path.workers.values():
            assert stopped(worker, signal.SIGTERM) == 0
            assert log_of(worker)


RESTORED = "partition restored"


def restored(worker: Worker) -> dict[int, int | None]:
    """Return the offsets that a streams worker said its partitions go on from."""
    return {line["partition"]: line["offset"] for line in log_of(worker) if line["event"] == RESTORED}


@pytest.mark.kafka
def test_the_last_checkpoint_of_a_streams_worker_holds_what_it_had_read(kafka: Broker, store_url: str) -> None:
    """With no checkpoint due for an hour, all that is in the state after its end was written at its end."""

    def offsets() -> dict[int, int]:
        return {one.partition: one.source.offset for one in asyncio.run(states(kafka.bootstrap, 4, 4))}

    with Path(kafka.bootstrap, store_url) as path:
        worker = path.start(Role.STREAMS, "streams", AGENTRACER_CHECKPOINT_MS="3600000")
        assert soon(lambda: len(restored(worker)) == 4)
        before = offsets()
        send(kafka.bootstrap, telling_runs("last", 40))
        assert offsets() == before
        time.sleep(1)  # whatever it has read by now: less makes the test weaker, never wrong
        assert stopped(worker, signal.SIGTERM) == 0
        after = offsets()
        assert sum(after.values()) > sum(before.values())
        again = path.start(Role.STREAMS, "again")
        assert soon(lambda: len(restored(again)) == 4)
        assert after.items() <= restored(again).items()


@pytest.mark.kafka
def test_the_last_insert_of_a_sink_is_written_and_committed(kafka: Broker, store_url: str) -> None:
    """With no insert due for an hour, what is in the store after its end was written at its end."""
    slow = {"AGENTRACER_SINK_FLUSH_MS": "3600000", "AGENTRACER_SINK_BATCH_ROWS": "1000000"}
    with Path(kafka.bootstrap, store_url) as path:
        published(path, "insert", 40)
        sink = path.start(Role.SINK, "sink", **slow)
        assert soon(lambda: any(line["event"] == "assigned" for line in log_of(sink)))
        time.sleep(3)  # whatever it has read by now: less makes the test weaker, never wrong
        assert path.stored("insert") == 0
        assert stopped(sink, signal.SIGTERM) == 0
        committed = asyncio.run(committed_records(kafka.bootstrap, "sink", TopicName.TRAJECTORIES, "insert"))
        assert path.stored("insert") == 6 * committed > 0


@pytest.mark.kafka
def test_every_verdict_of_a_tracer_that_ends_is_committed_and_every_commit_has_its_verdict(
    kafka: Broker, store_url: str
) -> None:
    with Path(kafka.bootstrap, store_url) as path:
        published(path, "verdict", 400)
        tracer = path.start(Role.TRACER, "tracer", AGENTRACER_TRACER_CONCURRENCY="1", AGENTRACER_TRACER_WINDOW="8")
        assert soon(lambda: bool(traced(tracer, "verdict")))
        assert stopped(tracer, signal.SIGTERM) == 0
        sent = traced(tracer, "verdict")
        assert len(sent) == len(set(sent))
        topic = TopicName.FAILED_TRAJECTORIES
        assert asyncio.run(committed_records(kafka.bootstrap, "tracer", topic, "verdict")) == len(sent)


def send(bootstrap: str, runs: Iterator[RecordedRun]) -> None:
    """Send runs as fast as the broker takes them."""
    sender = Sender(bootstrap, runs, rate=10_000)
    sender.start()
    sender.finish()


def published(path: Path, prefix: str, runs: int) -> None:
    """Send failed runs and have them assembled, by a worker that is gone afterwards."""
    streams = path.start(Role.STREAMS, "streams")
    send(path.bootstrap, telling_runs(prefix, runs))
    assert soon(lambda: len(on_topic(path.bootstrap, TopicName.FAILED_TRAJECTORIES, prefix).revisions) == runs, 60)
    assert stopped(streams, signal.SIGTERM) == 0


def traced(tracer: Worker, prefix: str) -> list[str]:
    """Return the ids of the runs that a tracer said it sent a verdict of."""
    sent = (line["trajectory_id"] for line in log_of(tracer) if line["event"] == "verdict sent")
    return [one for one in sent if one.startswith(prefix)]


async def committed_records(bootstrap: str, group: str, topic: TopicName, prefix: str) -> int:
    """Count the records of runs with a prefix that the group's commits say are finished, ahead of their offsets too."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic.value, number) for number in range(4)]
        consumer.assign(places)
        commits = await committed_progress(consumer, places)
        known = {place: decode(commit) or Known(commit.offset, {}) for place, commit in commits.items()}
        await consumer.seek_to_beginning(*places)
        found = 0
        while any([await consumer.position(place) < one.high for place, one in known.items()]):
            for place, records in (await consumer.getmany(timeout_ms=300)).items():
                one = known.get(place, Known(0, {}))
                done = [
                    record for record in records if record.offset < one.high and record.offset not in one.unfinished
                ]
                found += sum(record.key.startswith(prefix.encode()) for record in done)
        return found
    finally:
        await consumer.stop()


@pytest.fixture(scope="module")
def own_path(store_url: str) -> Iterator[tuple[KafkaServer, Path]]:
    """A path whose broker the tests may freeze."""
    with KafkaServer() as server, Path(server.bootstrap, store_url) as path:
        yield server, path


@pytest.mark.kafka
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_a_worker_at_once(
    number: signal.Signals, code: int, kafka: Broker, own_path: tuple[KafkaServer, Path]
) -> None:
    """The broker stands still, so a drain would wait for it."""
    server, path = own_path
    for role in Role:
        path.start(role, role)
    sender = Sender(server.bootstrap, telling_runs(f"second-{code}", 200), rate=100)
    sender.start()
    assert soon(lambda: path.stored(f"second-{code}") > 50, 60)
    server.pause()
    for worker in path.workers.values():
        worker.process.send_signal(number)
        assert soon(lambda worker=worker: any(line["event"] == "draining" for line in log_of(worker)))  # type: ignore[misc]
        assert stopped(worker, number) == code
        assert log_of(worker)[-1]["event"] == "a second signal: leaving at once"
    server.resume()
    sender.finish()


# ---- what a worker refuses to start on ----


def refused(role: str, *options: str, **settings: str) -> tuple[int, str]:
    """Run a worker that is to end by itself; return its exit code and the one sentence it ends with."""
    done = subprocess.run(
        [*COMMAND, *options, "worker", role],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
        cwd=ROOT,
        env=environment(**QUICK | settings),
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    if last.startswith("agentracer: "):  # before there was a log
        assert len(done.stderr.splitlines()) == 1
        return done.returncode, last
    lines = [dict(json.loads(line)) for line in done.stderr.splitlines()]
    assert lines[-1]["level"] == "critical"
    assert lines[-1]["exit_code"] == done.returncode
    assert "trace" not in lines[-1]
    return done.returncode, str(lines[-1]["event"])


@pytest.fixture(scope="module")
def embedded() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        asyncio.run(apply_topics(broker.bootstrap, partitions=4, replicas=1))
        yield broker.bootstrap


@pytest.fixture(scope="module")
def clickhouse(store_url: str) -> str:
    url = f"{store_url}/{DATABASE}"
    with connect(url) as client:
        migrate(client, DATABASE)
    return url


@pytest.mark.parametrize("role", Role)
def test_a_broker_that_is_away_is_3(role: Role, clickhouse: str) -> None:
    code, said = refused(role, AGENTRACER_BOOTSTRAP=NOBODY, AGENTRACER_CLICKHOUSE_URL=clickhouse)
    assert code == 3
    assert f"no broker answers at {NOBODY!r}" in said
    assert "AGENTRACER_BOOTSTRAP" in said


@pytest.mark.parametrize("role", Role)
def test_a_broker_that_knows_no_transactions_is_3(role: Role, embedded: str, clickhouse: str) -> None:
    code, said = refused(role, AGENTRACER_BOOTSTRAP=embedded, AGENTRACER_CLICKHOUSE_URL=clickhouse)
    assert code == 3
    assert "set AGENTRACER_TRANSACTIONS=false" in said


@pytest.mark.parametrize("role", Role)
def test_topics_that_are_missing_are_4(role: Role, clickhouse: str) -> None:
    with EmbeddedBroker() as empty:
        code, said = refused(role, AGENTRACER_BOOTSTRAP=empty.bootstrap, AGENTRACER_CLICKHOUSE_URL=clickhouse)
    assert code == 4
    assert "agentracer topics apply" in said


def test_a_store_that_is_away_is_3_and_its_password_is_not_told(embedded: str) -> None:
    url = NOWHERE.replace("//", "//user:secret@")
    code, said = refused("sink", AGENTRACER_BOOTSTRAP=embedded, AGENTRACER_CLICKHOUSE_URL=url)
    assert code == 3
    assert f"no ClickHouse answers at {NOBODY!r}" in said
    assert "secret" not in said


def test_a_store_without_tables_is_5(embedded: str, store_url: str) -> None:
    code, said = refused("sink", AGENTRACER_BOOTSTRAP=embedded, AGENTRACER_CLICKHOUSE_URL=f"{store_url}/empty")
    assert code == 5
    assert "run `agentracer migrate`" in said


@pytest.mark.kafka
def test_a_state_of_another_number_of_partitions_is_5(own_path: tuple[KafkaServer, Path], kafka: Broker) -> None:
    server, _ = own_path
    produce(server.bootstrap, TopicName.ASSEMBLER_STATE, *state_of(0, 8), partition=1)
    code, said = refused("streams", AGENTRACER_BOOTSTRAP=server.bootstrap)
    produce(server.bootstrap, TopicName.ASSEMBLER_STATE, SOURCE_KEY, None, partition=1)
    assert code == 5
    assert "step-events has 4 partitions, the state was written for 8" in said


WRONG = [
    ("streams", "AGENTRACER_LIMITS__IDLE_MS", "soon"),
    ("streams", "AGENTRACER_LIMITS__IDEL_MS", "5"),
    ("tracer", "AGENTRACER_TRACER_CONCURRENCY", "0"),
    ("tracer", "AGENTRACER_TRACER", "oracle"),
    ("sink", "AGENTRACER_SINK_BATCH_ROWS", "many"),
    ("sink", "AGENTRACER_HEALTH_PORT", "70000"),
]


@pytest.mark.parametrize(("role", "name", "value"), WRONG, ids=[f"{role}-{name}" for role, name, _ in WRONG])
def test_a_wrong_setting_is_2(role: str, name: str, value: str) -> None:
    code, said = refused(role, **{name: value})
    assert code == 2
    assert value in said or name in said
    assert name in said or "tracer" in said


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("text", "key"),
    [("botstrap = 'x'", "botstrap"), ("trace_attempts = '3'", "trace_attempts"), ("[limits]\nidle_ms = 0", "idle_ms")],
)
def test_a_wrong_settings_file_is_2_for_every_role(role: Role, text: str, key: str, tmp_path: File) -> None:
    file = tmp_path / "agentracer.toml"
    file.write_text(text)
    code, said = refused(role, "--config", str(file))
    assert code == 2
    assert key in said
    assert str(file) in said


def test_a_settings_file_that_is_not_there_is_2(tmp_path: File) -> None:
    code, said = refused("sink", AGENTRACER_CONFIG=str(tmp_path / "none.toml"))
    assert code == 2
    assert "none.toml' can't be read: No such file" in said


@pytest.mark.parametrize("role", Role)
def test_a_port_that_is_taken_is_2(role: Role) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        code, said = refused(role, AGENTRACER_HEALTH_PORT=port)
    assert code == 2
    assert port in said
    assert "AGENTRACER_HEALTH_PORT" in said


def test_a_role_that_there_is_not_is_2() -> None:
    done = subprocess.run(
        [*COMMAND, "worker", "oracle"], check=False, capture_output=True, text=True, cwd=ROOT, env=environment()
    )
    assert done.returncode == 2
    assert "oracle" in done.stderr


def test_the_help_of_a_worker_teaches_how_to_run_it() -> None:
    done = subprocess.run(
        [*COMMAND, "worker", "--help"], check=False, capture_output=True, text=True, cwd=ROOT, env=environment()
    )
    said = " ".join(done.stdout.split())
    for word in ("AGENTRACER_CONFIG", "agentracer settings", "topics apply", "migrate", "doctor", "SIGTERM"):
        assert word in said
    for code in ("2 a setting", "3 broker or store", "4 a topic", "5 the state", "6 too much rubbish"):
        assert code in said


def test_a_defect_ends_a_worker_with_1_and_its_trace_quotes_no_value() -> None:
    code = f"""
import logging, ops.cli, ops.health
from schemas import StepEvent
def broken(*_):
    StepEvent.model_validate({{"trajectory_id": "t", "agent": "a", "content": {{"{CANARY}": 1}}}})
ops.health.watched = broken
ops.cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "worker", "sink"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == 1
    assert CANARY not in done.stderr
    (line,) = map(json.loads, done.stderr.splitlines())
    assert line["event"] == "a defect ended the worker"
    assert line["trace"].endswith("ValidationError")
