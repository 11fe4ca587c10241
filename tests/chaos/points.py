"""The fail points: every place between two effects at which a worker is struck, and the two ways it is struck.

Rules: a point counts as hit only with uncommitted work in hand; each is hit by kill -9 and by SIGSTOP, takeover and
SIGCONT.
"""

from enum import StrEnum

from ops.roles import Role
from schemas import TopicName


class Blow(StrEnum):
    """What happens to a worker that reaches an armed point."""

    KILL = "kill"
    """kill -9, and a new process in its place."""
    STOP = "stop"
    """SIGSTOP for longer than its session, so that another takes over; then SIGCONT."""


class Point(StrEnum):
    """A place in a worker; the role stands before the colon."""

    FOLDED = "streams: batch folded"
    """A fetched batch is in memory, no checkpoint has it."""
    SENT_TRAJECTORIES = "streams: sent trajectories"
    """The transaction's closed trajectories are at the broker, uncommitted."""
    SENT_FAILED = "streams: sent failed-trajectories"
    """Those of them that are traced too."""
    SENT_OUTCOMES = "streams: sent outcomes"
    """The transaction's outcomes are at the broker."""
    SENT_LETTERS = "streams: sent dead-letters"
    """Its dead letters are."""
    SENT_REPORTS = "streams: sent pipeline-events"
    """Its reports are."""
    SENT_FORWARDS = "streams: sent step-events"
    """Events of another home are back on `step-events`."""
    SENT_STATE = "streams: sent assembler-state"
    """The state is at the broker, and with it everything of the transaction."""
    BEFORE_COMMIT = "streams: before the transaction's commit"
    """All that was sent is acknowledged."""
    AFTER_COMMIT = "streams: after the transaction's commit"
    """The transaction stands, the worker does not know, and the group's offset is behind."""
    AFTER_GROUP = "streams: after the group's commit"
    """The group has the offset; more is folded already."""
    BEFORE_INSERT = "sink: before the insert"
    """A batch is complete, nothing of it is in the store."""
    AFTER_INSERT = "sink: after the insert"
    """Rows are in the store, their offsets are not committed."""
    AFTER_SINK_COMMIT = "sink: after the commit"
    """The offsets are committed; more is read already."""
    ATTEMPTED = "tracer: attempt committed"
    """The broker knows of the attempt, the judging has not begun."""
    JUDGED = "tracer: judged"
    """There is an answer, nobody has it."""
    VERDICT_SENT = "tracer: verdict sent"
    """The verdict is on its topic, its trajectory is not committed as finished."""
    AFTER_TRACER_COMMIT = "tracer: after the commit"
    """A finished trajectory is committed; others are in work."""

    @property
    def role(self) -> Role:
        """The role that passes it."""
        return Role(self.value.partition(":")[0])


SENT = {
    TopicName.TRAJECTORIES: Point.SENT_TRAJECTORIES,
    TopicName.FAILED_TRAJECTORIES: Point.SENT_FAILED,
    TopicName.OUTCOMES: Point.SENT_OUTCOMES,
    TopicName.DEAD_LETTERS: Point.SENT_LETTERS,
    TopicName.PIPELINE_EVENTS: Point.SENT_REPORTS,
    TopicName.STEP_EVENTS: Point.SENT_FORWARDS,
    TopicName.ASSEMBLER_STATE: Point.SENT_STATE,
}
"""The point after a send to each topic of the assembler's transaction."""
