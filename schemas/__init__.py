"""The wire contracts: the public names."""

from .control import PipelineEvent, Promotion, RetrainRequest
from .dead_letter import DeadLetter
from .fields import SCHEMA_VERSION
from .kinds import (
    CloseReason,
    DeadLetterReason,
    FailureClass,
    KeySource,
    LabelSource,
    PipelineEventKind,
    Result,
    RouteReason,
    StepKind,
    VerdictPurpose,
    VerdictStatus,
)
from .step import Event, Outcome, OutcomeEvent, StepEvent, ToolUse, Usage
from .topics import TOPICS, Topic, TopicName
from .trajectory import Routing, Trajectory
from .verdict import Candidate, Evidence, Feedback, Label, Tokens, Verdict

__all__ = [
    "SCHEMA_VERSION",
    "TOPICS",
    "Candidate",
    "CloseReason",
    "DeadLetter",
    "DeadLetterReason",
    "Event",
    "Evidence",
    "FailureClass",
    "Feedback",
    "KeySource",
    "Label",
    "LabelSource",
    "Outcome",
    "OutcomeEvent",
    "PipelineEvent",
    "PipelineEventKind",
    "Promotion",
    "Result",
    "RetrainRequest",
    "RouteReason",
    "Routing",
    "StepEvent",
    "StepKind",
    "Tokens",
    "ToolUse",
    "Topic",
    "TopicName",
    "Trajectory",
    "Usage",
    "Verdict",
    "VerdictPurpose",
    "VerdictStatus",
]
