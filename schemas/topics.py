"""The one table of topics: what is on them, who writes and reads them, and how the broker keeps them.

Rules: a topic that belongs to the assembler (`step-events`, `trajectories`, `failed-trajectories`, `outcomes`,
`assembler-state`, `verdicts`) has the same number of partitions as `step-events`; a name, a key or a model is
never changed, only added.
"""

from enum import StrEnum
from typing import Literal, NamedTuple

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MB = 1_000_000
DEFAULT_PARTITIONS = 4


class TopicName(StrEnum):
    """Every topic of the product."""

    OTLP_SPANS = "otlp-spans"
    STEP_EVENTS = "step-events"
    ASSEMBLER_STATE = "assembler-state"
    TRAJECTORIES = "trajectories"
    FAILED_TRAJECTORIES = "failed-trajectories"
    OUTCOMES = "outcomes"
    DEAD_LETTERS = "dead-letters"
    PIPELINE_EVENTS = "pipeline-events"
    VERDICTS = "verdicts"
    LABELS = "labels"
    FEEDBACK = "feedback"
    PROMOTIONS = "promotions"
    RETRAIN_REQUESTS = "retrain-requests"


class Topic(NamedTuple):
    """One topic; `partitions` None means as many as `step-events` has."""

    name: TopicName
    key: str
    model: str
    partitions: int | None
    retention_ms: int
    max_bytes: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    cleanup: Literal["delete", "compact"] = "delete"
    timestamp: Literal["LogAppendTime", "CreateTime"] = "CreateTime"
    extra: tuple[tuple[str, str], ...] = ()

    def config(self, replicas: int = 1) -> dict[str, str]:
        """Return the broker's settings of this topic."""
        settings = {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_bytes),
            "message.timestamp.type": self.timestamp,
            "min.insync.replicas": str(min(2, replicas)),
        }
        return settings | dict(self.extra)


_T = TopicName
_STATE = (
    ("segment.bytes", str(16 * MB)),
    ("segment.ms", "600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("delete.retention.ms", "3600000"),
)

TOPICS: dict[TopicName, Topic] = {
    topic.name: topic
    for topic in (
        Topic(
            _T.OTLP_SPANS,
            "trace id",
            "ExportTraceServiceRequest",
            None,
            DAY_MS,
            24 * MB,
            ("collector",),
            ("normaliser",),
        ),
        Topic(
            _T.STEP_EVENTS,
            "trajectory_id",
            "StepEvent | OutcomeEvent",
            None,
            7 * DAY_MS,
            24 * MB,
            ("fleet", "normaliser", "assembler"),
            ("assembler",),
            timestamp="LogAppendTime",
        ),
        Topic(
            _T.ASSEMBLER_STATE,
            "segment, marker or source",
            "state records",
            None,
            -1,
            24 * MB,
            ("assembler",),
            ("assembler",),
            cleanup="compact",
            extra=_STATE,
        ),
        Topic(
            _T.TRAJECTORIES,
            "trajectory_id",
            "Trajectory",
            None,
            3 * DAY_MS,
            24 * MB,
            ("assembler",),
            ("sink", "assembler"),
        ),
        Topic(
            _T.FAILED_TRAJECTORIES,
            "trajectory_id",
            "Trajectory",
            None,
            7 * DAY_MS,
            24 * MB,
            ("assembler",),
            ("tracer",),
        ),
        Topic(_T.OUTCOMES, "trajectory_id", "OutcomeEvent", None, 7 * DAY_MS, 24 * MB, ("assembler",), ("sink",)),
        Topic(
            _T.DEAD_LETTERS, "as it came", "DeadLetter", 1, 30 * DAY_MS, 32 * MB, ("every role",), ("sink", "redrive")
        ),
        Topic(_T.PIPELINE_EVENTS, "kind", "PipelineEvent", 1, 30 * DAY_MS, MB, ("every role",), ("sink",)),
        Topic(_T.VERDICTS, "trajectory_id", "Verdict", None, 30 * DAY_MS, 4 * MB, ("tracer",), ("sink", "blame")),
        Topic(_T.LABELS, "trajectory_id", "Label", 1, 90 * DAY_MS, MB, ("replay", "injection", "people"), ("sink",)),
        Topic(_T.FEEDBACK, "trajectory_id", "Feedback", 1, 7 * DAY_MS, MB, ("feedback",), ("fleet",)),
        Topic(_T.PROMOTIONS, "adapter", "Promotion", 1, -1, MB, ("trainer",), ("tracer",)),
        Topic(
            _T.RETRAIN_REQUESTS,
            "request_id",
            "RetrainRequest",
            1,
            30 * DAY_MS,
            MB,
            ("schedule", "people"),
            ("trainer",),
        ),
    )
}
