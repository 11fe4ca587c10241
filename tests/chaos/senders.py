"""The two senders, each a thread at the pace of the plan, and the ledger of what was acknowledged.

Rules: acks=all and idempotence; an event enters the ledger when its record is acknowledged; a sender that fails, or
is refused anything, fails the run.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer

from ops.client import publish
from ops.send import Outgoing
from schemas import OutcomeEvent, StepEvent, TopicName
from schemas.wire import NDJSON, read_line
from schemas.wire import Line as Read

from .load import Line, Sent, digest, digest_of

_FLUSH_S = 90.0
_POLL_S = 0.02


@dataclass(slots=True)
class Ledger:
    """What was acknowledged."""

    steps: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """The digest of every step."""
    outcomes: dict[tuple[str, str], OutcomeEvent] = field(default_factory=dict)
    letters: set[bytes] = field(default_factory=set)
    """Digests of the bytes that are to be dead letters."""
    often: set[tuple[str, str]] = field(default_factory=set)
    """Events that were sent more than once."""
    events: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, lines: tuple[Line, ...]) -> None:
        """Enter a record."""
        with self._lock:
            for line in lines:
                self._enter(line)

    def _enter(self, line: Line) -> None:
        self.events += 1
        key = (line.trajectory_id, line.event_id)
        if line.kind == "letter":
            self.letters.add(digest_of(line.raw))
            return
        if key in self.steps or key in self.outcomes:
            self.often.add(key)
        event = _read(line.raw)
        if isinstance(event, StepEvent):
            self.steps[key] = digest(event)
        else:
            self.outcomes[key] = event


def _read(raw: bytes) -> StepEvent | OutcomeEvent:
    found = read_line(raw)
    assert isinstance(found, Read), found
    return found.event


class Sending(threading.Thread):
    """One sender under way."""

    def __init__(self, bootstrap: str, records: list[Sent], ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self._address = bootstrap
        self._records = records
        self._ledger = ledger
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.send()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the run waits for this thread
            self.failure = error

    def send(self) -> None:
        """Send everything and wait until it is acknowledged."""
        raise NotImplementedError

    def finish(self) -> None:
        """Raise what went wrong."""
        self.join()
        if self.failure is not None:
            raise self.failure


class ProductSending(Sending):
    """The product's own client, at the plan's mean rate."""

    def __init__(self, bootstrap: str, records: list[Sent], ledger: Ledger, rate: float) -> None:
        super().__init__(bootstrap, records, ledger)
        self._rate = rate

    def send(self) -> None:
        found = asyncio.run(publish(self._address, self._outgoing(), rate=self._rate))
        if found.refused or found.acknowledged != len(self._records):
            raise AssertionError(f"{len(self._records)} sent, {found.acknowledged} acknowledged, {found.refused[:3]}")
        for record in self._records:
            self._ledger.accept(record.lines)

    def _outgoing(self) -> Iterator[Outgoing]:
        for record in self._records:
            (line,) = record.lines
            yield Outgoing(record.key, line.raw, line.trajectory_id, line.event_id or None, "unreadable", 0)


class LibrdkafkaSending(Sending):
    """librdkafka with its default partitioner, at the plan's times."""

    def send(self) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self._address,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        start = time.monotonic()
        for record in self._records:
            while (ahead := start + record.at_s - time.monotonic()) > 0:
                producer.poll(min(ahead, _POLL_S))
            self._produce(producer, record)
        left = producer.flush(_FLUSH_S)
        if left:
            raise AssertionError(f"{left} records were not acknowledged within {_FLUSH_S:.0f} s")

    def _produce(self, producer: Any, record: Sent) -> None:
        value = b"\n".join(line.raw for line in record.lines)
        headers = [("content-type", NDJSON)] if len(record.lines) > 1 else []

        def acknowledged(error: Any, _: Any) -> None:
            if error is not None:
                self.failure = AssertionError(f"not acknowledged: {error}")
            else:
                self._ledger.accept(record.lines)

        producer.produce(TopicName.STEP_EVENTS.value, value, key=record.key, headers=headers, on_delivery=acknowledged)
        producer.poll(0)
