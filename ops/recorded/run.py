"""A recorded run: the events of one trajectory, as bytes that are ready to be sent.

Rules: `raw` is what goes on the wire; `event` is what those bytes say, and None for bytes that are no event: they
are sent all the same, so that they come to lie in `dead-letters` with their reason.
"""

from typing import NamedTuple

from schemas import Event


class RecordedEvent(NamedTuple):
    """One event, or bytes that are none."""

    raw: bytes
    event: Event | None


class RecordedRun(NamedTuple):
    """The events of one trajectory in their recorded order; without an id, lines that name no trajectory."""

    trajectory_id: str | None
    events: tuple[RecordedEvent, ...]


def recorded(event: Event) -> RecordedEvent:
    """Write an event as a sender does."""
    return RecordedEvent(event.model_dump_json(exclude_none=True).encode(), event)
