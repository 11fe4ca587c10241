"""A message we could not accept, with its bytes, its reason and its address.

On `dead-letters` the record's key and value are the original bytes (of an NDJSON record, the line's) and the
rest travels in headers, under the names that Kafka Connect gives them, so that existing tools read them.

Rules: the address (topic, partition, offset, line) identifies it; reading one back never raises on foreign
records: what can't be read as a dead letter is None.
"""

from collections.abc import Iterable
from datetime import datetime

from .fields import Contract, Id, Index, UtcTime
from .kinds import DeadLetterReason
from .topics import MB

Headers = list[tuple[str, bytes]]

PREFIX = "__connect.errors."
TOPIC, PARTITION, OFFSET = PREFIX + "topic", PREFIX + "partition", PREFIX + "offset"
STAGE, CLASS, MESSAGE = PREFIX + "stage", PREFIX + "class.name", PREFIX + "exception.message"
EXCEPTION = PREFIX + "exception.class.name"
LINE, AT, CONTENT_TYPE = "agentracer.line", "agentracer.at", "content-type"
REDRIVEN = "agentracer.redriven"
MESSAGE_CHARACTERS = 500
LETTER_BYTES = 31 * MB
"""Key and value of a dead letter; the topic takes 32 MB, headers included."""


class DeadLetter(Contract):
    """One message that could not be accepted; `line` is 0 unless the record held many."""

    topic: Id
    partition: Index
    offset: int
    line: Index = 0
    reason: DeadLetterReason
    message: str
    stage: Id
    key: bytes | None = None
    value: bytes | None = None
    at: UtcTime

    @property
    def address(self) -> str:
        """`topic/partition/offset/line`, as the command line takes it."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.line}"


def to_headers(letter: DeadLetter) -> Headers:
    """Return everything but key and value, as Kafka headers."""
    texts = {
        TOPIC: letter.topic,
        PARTITION: str(letter.partition),
        OFFSET: str(letter.offset),
        LINE: str(letter.line),
        STAGE: letter.stage,
        CLASS: "agentracer",
        EXCEPTION: letter.reason.value,
        MESSAGE: letter.message[:MESSAGE_CHARACTERS],
        AT: letter.at.isoformat(),
    }
    return [(name, text.encode()) for name, text in texts.items()]


def from_record(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]
) -> DeadLetter | None:
    """Read a record of `dead-letters`; None when its headers don't say what it is."""
    found = {name: text.decode("utf-8", "replace") for name, text in headers if text is not None}
    try:
        return DeadLetter(
            topic=found[TOPIC],
            partition=int(found[PARTITION]),
            offset=int(found[OFFSET]),
            line=int(found.get(LINE, "0")),
            reason=DeadLetterReason(found[EXCEPTION]),
            message=found.get(MESSAGE, ""),
            stage=found[STAGE],
            key=key,
            value=value,
            at=datetime.fromisoformat(found[AT]),
        )
    except (KeyError, ValueError):
        return None
