"""What the product's own roles tell each other: promotions, retrain requests, reports about the pipeline."""

from typing import Literal

from pydantic import Field

from .fields import Attributes, Contract, Id, Index, UtcTime
from .kinds import PipelineEventKind


class Promotion(Contract):
    """The recorded decision that a candidate adapter goes live."""

    schema_version: Literal[1] = 1
    promotion_id: Id
    adapter: Id
    adapter_uri: str
    base_model: Id
    dataset_hash: Id
    metrics: dict[str, float] = Field(default_factory=dict)
    decided_by: Id
    decided_at: UtcTime


class RetrainRequest(Contract):
    """Enough new labels, the clock, or a person asks for a training run."""

    schema_version: Literal[1] = 1
    request_id: Id
    cause: Literal["labels", "clock", "person"]
    new_labels: Index = 0
    requested_by: Id
    requested_at: UtcTime


class PipelineEvent(Contract):
    """A report of one partition about itself; `count` says of how many things."""

    schema_version: Literal[1] = 1
    pipeline_event_id: Id
    kind: PipelineEventKind
    topic: Id
    partition: Index
    count: Index = 1
    detail: Attributes = Field(default_factory=dict)
    at: UtcTime
