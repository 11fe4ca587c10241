"""What partitions tell each other about time, so that an event on its way between two of them is not late.

    told(headers)    the time that a forwarding partition tells with what it sends
    due(…)           whom a partition has to tell its time, though it forwards nothing now
    after(…)         what it knows of that after a checkpoint

Rules: a trajectory whose events were read elsewhere falls quiet in the time of its home and in that of every partition
that forwards to it, since the worker of that one may be away or behind; whoever has forwarded tells its time until all
of it has fallen idle at home; times are watched time of the teller, in milliseconds.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

FORWARDED = "agentracer.forwarded"
"""Header of an event that was read elsewhere: the partition it comes from."""
TIME = "agentracer.time"
"""Header of what one partition sends to another: `partition:milliseconds`."""


_DIGITS = 15
"""A sender can write this header too; what it says has to fit the state."""


class Told(NamedTuple):
    """A partition and its own time."""

    partition: int
    watched_ms: int


class Relay(BaseModel):
    """What was forwarded to one home last, and when it was told the time last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forwarded_ms: int
    told_ms: int


Relays = dict[int, Relay]
"""By home."""


def told(headers: Iterable[tuple[str, bytes | None]]) -> Told | None:
    """Return the time that a record tells; None where it tells none that can be read."""
    value = next((value for name, value in headers if name == TIME), None)
    partition, _, watched_ms = (value or b"").partition(b":")
    is_time = partition.isdigit() and watched_ms.isdigit() and max(len(partition), len(watched_ms)) <= _DIGITS
    return Told(int(partition), int(watched_ms)) if is_time else None


def time_header(partition: int, watched_ms: int) -> tuple[str, bytes]:
    """Return the header that tells a partition's time."""
    return TIME, b"%d:%d" % (partition, watched_ms)


def due(relays: Relays, now_ms: int, idle_ms: int, step_ms: int) -> list[int]:
    """Return the homes to be told: every `step_ms`, and when all that was forwarded there has fallen idle."""
    return [
        home for home, one in relays.items() if now_ms - one.told_ms >= step_ms or now_ms - one.forwarded_ms >= idle_ms
    ]


def after(relays: Relays, now_ms: int, idle_ms: int, forwarded: Iterable[int], told_homes: Iterable[int]) -> Relays:
    """Return what is to be known after a checkpoint that forwarded to some homes and told others the time."""
    kept = dict(relays)
    for home in told_homes:
        kept[home] = Relay(forwarded_ms=kept[home].forwarded_ms, told_ms=now_ms)
        if now_ms - kept[home].forwarded_ms >= idle_ms:
            del kept[home]
    return kept | {home: Relay(forwarded_ms=now_ms, told_ms=now_ms) for home in forwarded}
