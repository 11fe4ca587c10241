"""Dead letters on a real Kafka: they arrive in the store whatever their size, and a mended one comes back once."""

import asyncio
import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ops.query import connect, dead_letter
from ops.roles import Role
from schemas import DeadLetterReason, TopicName
from schemas.errors import AgentracerError
from schemas.wire import NDJSON
from tests.conftest import Broker
from tests.factories import raw, step
from tests.ops.processes import invoke
from tests.stores import own_store
from tests.streams.real import Process, Sent, letters, read_topic, remake_topics, send, trajectories

pytestmark = pytest.mark.kafka
BAD = b'{"trajectory_id": "mend-me", "agent": 5}'


class Bed:
    """Streams and sink as processes, and the command line beside them."""

    def __init__(self, broker: str, clickhouse: str) -> None:
        self.broker, self.clickhouse = broker, clickhouse
        self.settings = {"AGENTRACER_BOOTSTRAP": broker, "AGENTRACER_CLICKHOUSE_URL": clickhouse}
        self.streams = Process(Role.STREAMS, broker)
        group = f"sink-{uuid4().hex}"
        self.sink = Process(Role.SINK, broker, AGENTRACER_CLICKHOUSE_URL=clickhouse, AGENTRACER_SINK_GROUP=group)

    def stored(self, query: str) -> Any:
        with connect(self.clickhouse) as client:
            return client.query(query).result_rows

    def until_letters(self, count: int) -> None:
        self.sink.until(lambda: self.stored("SELECT count() FROM dead_letters")[0][0] == count)

    def redrive(self, address: str, *options: str) -> Any:
        return invoke("dead-letters", "redrive", address, *options, **self.settings)

    def sent_back(self) -> list[Any]:
        found = asyncio.run(read_topic(self.broker, TopicName.STEP_EVENTS))
        return [one for one in found if any(name == "agentracer.redriven" for name, _ in one.headers)]


@pytest.fixture
def bed(kafka_alone: Broker, store_url: str) -> Iterator[Bed]:
    asyncio.run(remake_topics(kafka_alone.bootstrap, 2))
    with own_store(store_url) as store:
        made = Bed(kafka_alone.bootstrap, f"{store_url}/{store.database}")
        with made.streams, made.sink:
            yield made


def _mended(folder: Path, *indices: int) -> str:
    file = folder / "mended"
    file.write_bytes(b"\n".join(raw(step("mend-me", index, final=True)) for index in indices))
    return str(file)


def test_a_mended_letter_comes_back_once_also_while_the_store_lags_and_again_only_when_told(
    bed: Bed, tmp_path: Path
) -> None:
    asyncio.run(send(bed.broker, Sent(BAD, key=b"mend-me")))
    bed.until_letters(1)
    bed.sink.drain()
    (letter,) = letters(bed.broker)
    mended = _mended(tmp_path, 0)
    done = bed.redrive(letter.address, "--mended", mended)
    assert done.exit_code == 0, done.exception
    bed.streams.until(lambda: len(trajectories(bed.broker)) == 1)
    for _ in range(2):
        refused = bed.redrive(letter.address, "--mended", mended).exception
        assert isinstance(refused, AgentracerError)
        assert str(refused) == f"{letter.address!r} was sent back before; give --again to send it once more"
    assert len(bed.sent_back()) == 1
    done = bed.redrive(letter.address, "--mended", mended, "--again")
    assert done.exit_code == 0, done.exception
    back = bed.sent_back()
    assert [(one.value, one.key) for one in back] == [(Path(mended).read_bytes(), b"mend-me")] * 2
    asyncio.run(send(bed.broker, raw(step("after", final=True))))
    bed.streams.until(lambda: len(trajectories(bed.broker)) == 2)
    assert {one.trajectory_id: len(one.steps) for one in trajectories(bed.broker)} == {"mend-me": 1, "after": 1}
    assert letters(bed.broker) == [letter]


def test_what_was_sent_back_is_known_from_the_store_too(bed: Bed) -> None:
    asyncio.run(send(bed.broker, Sent(BAD, key=b"mend-me")))
    bed.until_letters(1)
    (letter,) = letters(bed.broker)
    assert bed.redrive(letter.address).exit_code == 0
    bed.until_letters(2)
    bed.sink.until(lambda: bed.stored("SELECT count() FROM pipeline_events")[0][0] == 1)
    assert isinstance(bed.redrive(letter.address).exception, AgentracerError)
    assert len(bed.sent_back()) == 1
    assert len({one.address for one in letters(bed.broker)}) == 2, "refused again as it was, at its new address"


def test_the_rest_of_a_record_is_mended_and_sent_as_lines(bed: Bed, tmp_path: Path) -> None:
    record = b"\n".join([b"x"] * 1_002)
    asyncio.run(send(bed.broker, Sent(record, headers=[("content-type", NDJSON)]), raw(step("after", final=True))))
    bed.until_letters(1_001)
    rest = letters(bed.broker)[-1]
    assert rest.value == b"x\nx"
    done = bed.redrive(rest.address, "--lines", "--mended", _mended(tmp_path, 0, 1))
    assert done.exit_code == 0, done.exception
    bed.streams.until(lambda: any(len(one.steps) == 2 for one in trajectories(bed.broker)))


def test_letters_of_every_size_are_stored_with_their_bytes_or_say_where_they_are(bed: Bed) -> None:
    random_text = base64.b64encode(random.Random(1).randbytes(18_000_000))
    largest = random_text[:23_990_000]
    asyncio.run(send(bed.broker, Sent(largest, key=b"k"), Sent(b'{"' + b"z" * 5_000_000)))
    asyncio.run(send(bed.broker, bytes(40_000_000), bytes(31_000_001), compression_type="zstd"))
    asyncio.run(send(bed.broker, bytes(31_000_000), compression_type="zstd"))
    bed.until_letters(5)
    stored = {}
    for letter in letters(bed.broker):
        with connect(bed.clickhouse) as client:
            found = dead_letter(client, letter.topic, letter.partition, letter.offset, letter.line)
        assert found is not None
        assert (found.reason, found.value or b"", found.message) == (letter.reason, letter.value or b"", letter.message)
        stored[found.offset] = found
    assert stored[0].value == largest
    assert len(stored[4].value or b"") == 31_000_000
    assert [len(stored[one].value or b"") for one in (2, 3)] == [0, 0]
    for offset, size in ((2, 40_000_000), (3, 31_000_001)):
        assert stored[offset].reason is DeadLetterReason.TOO_LARGE
        assert f"{size} bytes are too many for a dead letter and stay at its address" in stored[offset].message
        refused = bed.redrive(stored[offset].address).exception
        assert isinstance(refused, AgentracerError)
        assert "holds no bytes that could be sent back (too_large: " in str(refused)
        assert "--mended FILE" in str(refused)
    shown = invoke("dead-letters", "show", stored[0].address, "--json", **bed.settings)
    assert base64.urlsafe_b64decode(json.loads(shown.stdout)["value"]) == largest
