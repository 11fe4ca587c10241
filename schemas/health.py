"""What a worker knows of its own health: whether its loop turns, and what it can't work without.

Rules: a role says it and never asks; whoever answers probes asks, from another thread; each part of the world clears
its own reason alone, so one that comes back hides no other that is still away. A worker is *alive* while its loop
turns, whatever is away; it is *ready* while it turns and nothing is in its way. A worker whose group has nothing for
it, since others have it all, is a standby and ready.
"""

from collections.abc import Callable
from enum import StrEnum
from time import monotonic

STILL_S = 10.0
"""A loop that has not turned for so long is not ready."""
SILENT_S = 10.0
"""A broker that has not answered for so long, while it was asked, is away."""


def silence(silent_s: float) -> str | None:
    """Say that the broker has not answered for so long; None while that is nothing."""
    return f"no answer from the broker for {silent_s:.0f} s" if silent_s >= SILENT_S else None


class Part(StrEnum):
    """What a role needs to work."""

    PARTITIONS = "partitions"
    BROKER = "broker"
    STORE = "store"
    MODEL = "model"


class Health:
    """What one worker says of itself."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._beaten = clock()
        self._hindrances: dict[Part, str] = {Part.PARTITIONS: "no partitions assigned"}

    def beat(self) -> None:
        """Say that the role's loop has turned."""
        self._beaten = self._clock()

    def ready(self, part: Part, reason: str | None = None) -> None:
        """Say that a part is there, or in one sentence why the role can't work with it."""
        if reason is None:
            self._hindrances.pop(part, None)
        else:
            self._hindrances[part] = reason

    def not_alive(self, still_s: float) -> str | None:
        """Return what is wrong with a loop that has stood still for `still_s` seconds; None while it turns."""
        since = self._clock() - self._beaten
        return f"the loop has stood still for {since:.0f} s" if since >= still_s else None

    def not_ready(self) -> str | None:
        """Return everything that is in the way; None when nothing is."""
        still = self.not_alive(STILL_S)
        found = [*([still] if still else []), *self._hindrances.copy().values()]
        return "; ".join(found) or None
