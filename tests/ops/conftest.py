"""What the tests of the embedded servers and of Apache Kafka start."""

from collections.abc import Iterator
from uuid import uuid4

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from ops.embedded.broker import EmbeddedBroker
from ops.kafka.server import KafkaServer, jars
from schemas.errors import KafkaUnavailableError
from tests.ops.processes import Up, start_up


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    """A stock client in a database of the test's own."""
    database = f"test_{uuid4().hex}"
    with clickhouse_connect.get_client(dsn=store_url) as first:
        first.command(f"CREATE DATABASE {database}")
        with clickhouse_connect.get_client(dsn=store_url, database=database) as connected:
            yield connected
        first.command(f"DROP DATABASE {database}")


@pytest.fixture(scope="session")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


@pytest.fixture
def own_kafka() -> Iterator[KafkaServer]:
    """A Kafka that the test may kill and freeze."""
    try:
        jars()
    except KafkaUnavailableError as error:
        pytest.skip(f"NOT TESTED HERE: {error}")
    with KafkaServer() as server:
        yield server


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `agentracer up` for all tests that only send to it and look."""
    started = start_up(tmp_path_factory.mktemp("up"))
    with started.running:
        yield started
