"""What every test may ask for: a real Apache Kafka, and the embedded store."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from ops.embedded.store import EmbeddedStore
from ops.kafka.server import KafkaServer, jars
from schemas.errors import KafkaUnavailableError

settings.register_profile("default", deadline=None)  # a loaded machine is no failure
settings.load_profile("default")

DATA = Path(os.environ.get("AGENTRACER_DATA", Path(__file__).parents[2] / "shared" / "data"))


class Broker(NamedTuple):
    """Where a real Kafka listens."""

    bootstrap: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broker", help="HOST:PORT of a Kafka to test against, instead of starting one")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """One broker for all tests that make topics of their own."""
    yield from _broker(request)


@pytest.fixture(scope="module")
def kafka_alone(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker whose topics of the table belong to one file of tests."""
    yield from _broker(request)


def _broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if bootstrap := request.config.getoption("--broker"):
        yield Broker(bootstrap)
        return
    try:
        jars()
    except KafkaUnavailableError as error:
        print(f"\nSKIPPED, NOT TESTED HERE: {error}", file=sys.stderr)
        pytest.skip(str(error))
    with KafkaServer() as server:
        yield Broker(server.bootstrap)


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    with EmbeddedStore() as store:
        yield store.url


@pytest.fixture(scope="session")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"no recorded runs at {DATA}; set AGENTRACER_DATA")
    return DATA
