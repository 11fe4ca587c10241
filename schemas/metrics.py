"""The one table of metrics: what each role counts and measures, and the three calls with which it does.

Rules: a name is `role_noun_verbed_unit`, and a role uses its own alone; labels have few values and never content or
ids; what has a partition's label is forgotten when the partition goes; nothing is counted per event: a batch, a
checkpoint or an answer is the least.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol


class Kind(StrEnum):
    """How a metric moves."""

    COUNTER = "counter"
    """Only up."""
    GAUGE = "gauge"
    """Stands where it was put last."""
    HISTOGRAM = "histogram"
    """Many values, by size."""


class Metric(StrEnum):
    """The names."""

    STREAMS_LAG = "streams_lag_records"
    STREAMS_OPEN = "streams_trajectories_open"
    STREAMS_OPEN_BYTES = "streams_trajectories_open_bytes"
    STREAMS_MARKERS = "streams_markers_held"
    STREAMS_MARKER_BYTES = "streams_markers_held_bytes"
    STREAMS_CHECKPOINT_AT = "streams_checkpoint_written_timestamp_seconds"
    STREAMS_CHECKPOINT_TIME = "streams_checkpoint_written_seconds"
    STREAMS_CHECKPOINT_BYTES = "streams_checkpoint_written_bytes"
    STREAMS_CHECKPOINT_RECORDS = "streams_checkpoint_written_records"
    STREAMS_FOLDED = "streams_events_folded_total"
    STREAMS_LATE = "streams_events_late_total"
    STREAMS_FORWARDED = "streams_events_forwarded_total"
    STREAMS_CLOSED = "streams_trajectories_closed_total"
    STREAMS_REOPENED = "streams_trajectories_reopened_total"
    STREAMS_ROUTED = "streams_trajectories_routed_total"
    STREAMS_READ_BACK = "streams_trajectories_read_back_total"
    STREAMS_DEAD_LETTERS = "streams_dead_letters_sent_total"
    STREAMS_FENCED = "streams_partitions_fenced_total"

    TRACER_LAG = "tracer_lag_records"
    TRACER_OLDEST = "tracer_trajectory_oldest_seconds"
    TRACER_WINDOW = "tracer_window_held_records"
    TRACER_WINDOW_BYTES = "tracer_window_held_bytes"
    TRACER_IN_WORK = "tracer_trajectories_in_work"
    TRACER_ATTEMPTS = "tracer_attempts_begun_total"
    TRACER_VERDICTS = "tracer_verdicts_sent_total"
    TRACER_TOKENS = "tracer_tokens_used_total"
    TRACER_QUEUED = "tracer_verdict_queued_seconds"
    TRACER_TRACED = "tracer_verdict_traced_seconds"
    TRACER_DEAD_LETTERS = "tracer_dead_letters_sent_total"
    TRACER_COMMITS_REFUSED = "tracer_commits_refused_total"
    TRACER_SHADOWS = "tracer_shadows_ended_total"

    SINK_LAG = "sink_lag_records"
    SINK_BATCH_BYTES = "sink_batches_held_bytes"
    SINK_INSERT_TIME = "sink_rows_inserted_seconds"
    SINK_ROWS = "sink_rows_inserted_total"
    SINK_RETRIED = "sink_inserts_retried_total"
    SINK_STORE_AWAY = "sink_store_away"
    SINK_DEAD_LETTERS = "sink_dead_letters_sent_total"
    SINK_COMMITS_REFUSED = "sink_commits_refused_total"


class Meaning(NamedTuple):
    """What a metric is."""

    kind: Kind
    help: str
    """One sentence."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, rising; of a histogram."""


_BRIEF_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG_S = (0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0)
_BYTES = (1e3, 1e4, 1e5, 1e6, 2.5e6, 5e6, 1e7, 2.5e7, 5e7, 1e8)
_RECORDS = (1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0, 100_000.0)

METRICS: dict[Metric, Meaning] = {
    Metric.STREAMS_LAG: Meaning(
        Kind.GAUGE, "Records of step-events, as of the broker's last answer, that are not folded yet.", ("partition",)
    ),
    Metric.STREAMS_OPEN: Meaning(Kind.GAUGE, "Trajectories that still take events.", ("partition",)),
    Metric.STREAMS_OPEN_BYTES: Meaning(Kind.GAUGE, "Bytes that open trajectories hold in memory.", ("partition",)),
    Metric.STREAMS_MARKERS: Meaning(
        Kind.GAUGE, "Closed trajectories that a late event would still reopen.", ("partition",)
    ),
    Metric.STREAMS_MARKER_BYTES: Meaning(Kind.GAUGE, "Bytes that their markers hold in memory.", ("partition",)),
    Metric.STREAMS_CHECKPOINT_AT: Meaning(
        Kind.GAUGE,
        "When a checkpoint last left everything on the broker that was folded before it, in seconds since 1970.",
        ("partition",),
    ),
    Metric.STREAMS_CHECKPOINT_TIME: Meaning(
        Kind.HISTOGRAM, "From the beginning of a checkpoint to its committed transaction.", buckets=_BRIEF_S
    ),
    Metric.STREAMS_CHECKPOINT_BYTES: Meaning(
        Kind.HISTOGRAM, "Bytes of steps, state, outcomes and dead letters in a checkpoint, each once.", buckets=_BYTES
    ),
    Metric.STREAMS_CHECKPOINT_RECORDS: Meaning(
        Kind.HISTOGRAM, "Records that a checkpoint wrote to all its topics.", buckets=_RECORDS
    ),
    Metric.STREAMS_FOLDED: Meaning(Kind.COUNTER, "Events taken in and checkpointed, repeated ones too."),
    Metric.STREAMS_LATE: Meaning(Kind.COUNTER, "Events that came after their trajectory was published."),
    Metric.STREAMS_FORWARDED: Meaning(Kind.COUNTER, "Events read elsewhere and sent on to their home partition."),
    Metric.STREAMS_CLOSED: Meaning(Kind.COUNTER, "Revisions published, by why they were closed.", ("reason",)),
    Metric.STREAMS_REOPENED: Meaning(Kind.COUNTER, "Revisions published after the first of their trajectory."),
    Metric.STREAMS_ROUTED: Meaning(Kind.COUNTER, "Revisions chosen to be traced, by why.", ("reason",)),
    Metric.STREAMS_READ_BACK: Meaning(
        Kind.COUNTER, "Published revisions that were needed again: from the cache, the topic, or nowhere.", ("source",)
    ),
    Metric.STREAMS_DEAD_LETTERS: Meaning(Kind.COUNTER, "Dead letters sent, by reason.", ("reason",)),
    Metric.STREAMS_FENCED: Meaning(Kind.COUNTER, "Partitions lost to another worker before the group said so."),
    Metric.TRACER_LAG: Meaning(
        Kind.GAUGE,
        "Failed trajectories, as of the broker's last answer, that have no answer of ours yet.",
        ("partition",),
    ),
    Metric.TRACER_OLDEST: Meaning(
        Kind.GAUGE, "How long the oldest trajectory in hand has been waiting for its answer; 0 with none in hand."
    ),
    Metric.TRACER_WINDOW: Meaning(Kind.GAUGE, "Trajectories read ahead and not begun."),
    Metric.TRACER_WINDOW_BYTES: Meaning(Kind.GAUGE, "Bytes of trajectories read ahead or in work."),
    Metric.TRACER_IN_WORK: Meaning(Kind.GAUGE, "Trajectories being traced."),
    Metric.TRACER_ATTEMPTS: Meaning(Kind.COUNTER, "Attempts at a trace, first ones and repeated ones."),
    Metric.TRACER_VERDICTS: Meaning(Kind.COUNTER, "Verdicts sent, by status.", ("status",)),
    Metric.TRACER_TOKENS: Meaning(
        Kind.COUNTER, "Tokens of the model: prompt tokens computed and taken from its cache, and written.", ("kind",)
    ),
    Metric.TRACER_QUEUED: Meaning(
        Kind.HISTOGRAM, "From a trajectory's place on its topic to the beginning of its trace.", buckets=_LONG_S
    ),
    Metric.TRACER_TRACED: Meaning(Kind.HISTOGRAM, "From the beginning of a trace to its verdict.", buckets=_LONG_S),
    Metric.TRACER_DEAD_LETTERS: Meaning(Kind.COUNTER, "Dead letters sent, by reason.", ("reason",)),
    Metric.TRACER_COMMITS_REFUSED: Meaning(Kind.COUNTER, "Commits refused since the group had moved on."),
    Metric.TRACER_SHADOWS: Meaning(
        Kind.COUNTER, "Shadows of verdicts, by how they ended: sent, failed, or dropped before they began.", ("status",)
    ),
    Metric.SINK_LAG: Meaning(
        Kind.GAUGE,
        "Records, as of the broker's last answer, that are not stored and committed yet.",
        ("topic", "partition"),
    ),
    Metric.SINK_BATCH_BYTES: Meaning(Kind.GAUGE, "Bytes of the records in the batches that are filled and written."),
    Metric.SINK_INSERT_TIME: Meaning(
        Kind.HISTOGRAM, "One insert that the store answered, by table.", ("table",), _BRIEF_S
    ),
    Metric.SINK_ROWS: Meaning(Kind.COUNTER, "Rows stored, written again after a redelivery too.", ("table",)),
    Metric.SINK_RETRIED: Meaning(Kind.COUNTER, "Inserts that the store did not take and that are tried again."),
    Metric.SINK_STORE_AWAY: Meaning(Kind.GAUGE, "1 while the store takes no rows, else 0."),
    Metric.SINK_DEAD_LETTERS: Meaning(Kind.COUNTER, "Dead letters sent, by reason.", ("reason",)),
    Metric.SINK_COMMITS_REFUSED: Meaning(
        Kind.COUNTER, "Batches stored and not committed, whose records are read again."
    ),
}


class Metrics(Protocol):
    """Takes what a role counts and measures; no call blocks or fails on what the table allows."""

    def count(self, name: Metric, n: float = 1, /, **labels: object) -> None:
        """Raise a counter."""

    def set(self, name: Metric, value: float, /, **labels: object) -> None:
        """Put a gauge."""

    def observe(self, name: Metric, value: float, /, **labels: object) -> None:
        """Add a value to a histogram."""

    def forget(self, name: Metric, /, **labels: object) -> None:
        """Drop a gauge whose subject has gone to another worker; one that never was is no error."""


class Unmetered:
    """Takes everything and keeps nothing."""

    def count(self, name: Metric, n: float = 1, /, **labels: object) -> None:
        """Do nothing."""

    def set(self, name: Metric, value: float, /, **labels: object) -> None:
        """Do nothing."""

    def observe(self, name: Metric, value: float, /, **labels: object) -> None:
        """Do nothing."""

    def forget(self, name: Metric, /, **labels: object) -> None:
        """Do nothing."""


UNMETERED: Metrics = Unmetered()
