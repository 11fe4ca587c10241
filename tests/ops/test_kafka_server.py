"""A real Apache Kafka: it can be killed, restarted on its data, and frozen; and whether it is ready can be told."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops.kafka import jars as fetching
from ops.kafka import server as serving
from ops.kafka.jars import jars, java
from ops.kafka.ready import brokers, is_ready
from ops.kafka.server import KafkaServer
from schemas.errors import KafkaUnavailableError

PARTITION = TopicPartition("t", 0)


async def create_topic(bootstrap: str, **settings: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    configs = {name.replace("_", "."): value for name, value in settings.items()}
    await admin.create_topics([NewTopic("t", 1, 1, topic_configs=configs)])
    await admin.close()


async def produce(bootstrap: str, *values: bytes, transactional_id: str | None = None) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_request_size=40 << 20, transactional_id=transactional_id
    )
    await producer.start()
    try:
        if transactional_id:
            async with producer.transaction():
                for value in values:
                    await producer.send_and_wait("t", value, partition=0)
        else:
            for value in values:
                await producer.send_and_wait("t", value, partition=0)
    finally:
        await producer.stop()


async def consume(bootstrap: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=40 << 20,
    )
    await consumer.start()
    consumer.assign([PARTITION])
    try:
        async with asyncio.timeout(20):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.mark.kafka
async def test_what_was_acknowledged_is_there_after_a_kill(own_kafka: KafkaServer) -> None:
    await create_topic(own_kafka.bootstrap)
    await produce(own_kafka.bootstrap, b"one", b"two")
    before = own_kafka.bootstrap
    await asyncio.to_thread(own_kafka.kill)
    assert not is_ready("127.0.0.1", own_kafka.port)
    await asyncio.to_thread(own_kafka.restart)
    assert own_kafka.bootstrap == before
    await produce(own_kafka.bootstrap, b"three", transactional_id="tx")
    assert await consume(own_kafka.bootstrap, 3) == [b"one", b"two", b"three"]


@pytest.mark.kafka
async def test_a_record_of_32_megabytes_passes(own_kafka: KafkaServer) -> None:
    await create_topic(own_kafka.bootstrap, max_message_bytes=str(34 << 20))
    value = os.urandom(32 << 20)
    await produce(own_kafka.bootstrap, value, transactional_id="large")
    assert await consume(own_kafka.bootstrap, 1) == [value]


@pytest.mark.kafka
async def test_a_frozen_server_answers_nothing_until_it_goes_on(own_kafka: KafkaServer) -> None:
    own_kafka.pause()
    with pytest.raises(TimeoutError):
        brokers("127.0.0.1", own_kafka.port, timeout_s=0.5)
    own_kafka.resume()
    assert brokers("127.0.0.1", own_kafka.port, timeout_s=10) == 1
    own_kafka.pause()
    own_kafka.stop()
    assert not is_ready("127.0.0.1", own_kafka.port)


@pytest.mark.kafka
def test_a_named_folder_keeps_its_data_and_a_temporary_one_goes(own_kafka: KafkaServer, tmp_path: Path) -> None:
    with KafkaServer(tmp_path / "kafka") as first:
        asyncio.run(create_topic(first.bootstrap))
        asyncio.run(produce(first.bootstrap, b"kept"))
    with KafkaServer(tmp_path / "kafka") as second:
        assert asyncio.run(consume(second.bootstrap, 1)) == [b"kept"]
    with KafkaServer() as temporary:
        assert temporary.data.is_dir()
    assert not temporary.data.exists()


@pytest.mark.kafka
def test_a_server_that_does_not_start_shows_its_log(own_kafka: KafkaServer, tmp_path: Path) -> None:
    with pytest.raises(KafkaUnavailableError, match=r"num\.io\.threads"):
        KafkaServer(tmp_path, overrides={"num.io.threads": "none"}).start()
    with pytest.raises(KafkaUnavailableError, match="is taken"):
        KafkaServer(tmp_path, port=own_kafka.port).start()


@pytest.mark.kafka
def test_jars_are_fetched_once(own_kafka: KafkaServer, tmp_path: Path) -> None:
    folder = jars(tmp_path)
    assert folder == tmp_path / f"kafka-{fetching.KAFKA_VERSION}"
    assert any(folder.glob("kafka_2.13-*.jar"))
    before = folder.stat().st_mtime_ns
    assert jars(tmp_path) == folder
    assert folder.stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KafkaUnavailableError, match="no 'java' on the PATH"):
        jars(tmp_path / "cache")
    script(tmp_path / "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    with pytest.raises(KafkaUnavailableError, match=r"11\.0\.2.*install Java 17"):
        jars(tmp_path / "cache")
    script(tmp_path / "java", """echo 'openjdk version "21.0.1" 2023-10-17' >&2""")
    with pytest.raises(KafkaUnavailableError, match="no 'mvn' on the PATH"):
        jars(tmp_path / "cache")
    script(tmp_path / "mvn", "echo no route to the repository; exit 1")
    with pytest.raises(KafkaUnavailableError, match="no route to the repository"):
        jars(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    java.cache_clear()


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def test_fetching_is_loud_where_it_fails_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    java.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert serving.main(["fetch"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("!!! NO APACHE KAFKA HERE, the tests of guarantees will be SKIPPED: no 'java'")
    assert serving.main(["brew"]) == 2


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\4abcd", b"\0\0\0\x08\0\0\0\1\0\0\0\0"]
)
def test_what_is_no_serving_kafka_is_not_ready(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reply() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        replying = threading.Thread(target=reply)
        replying.start()
        assert not is_ready("127.0.0.1", server.getsockname()[1])
        replying.join()
