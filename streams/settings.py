"""The settings of the streams worker: environment variables `AGENTRACER_…`, every default written here."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.topics import MB

from .limits import Limits

InstanceId = Annotated[str | None, BeforeValidator(lambda value: value or None)]
"""Static membership; all workers with the empty name would be one member and throw each other out for ever."""


class StreamsSettings(BaseSettings):
    """What a streams worker runs with; nested values as `AGENTRACER_LIMITS__IDLE_MS`."""

    model_config = SettingsConfigDict(
        env_prefix="AGENTRACER_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        frozen=True,
        extra="ignore",
    )

    bootstrap: str = "127.0.0.1:9092"
    """Brokers, as host:port, comma-separated."""
    streams_group: str = "streams"
    """Consumer group of the streams workers."""
    instance_id: InstanceId = None
    """Static membership: a name of this worker's own, the same after a restart."""
    session_timeout_ms: int = Field(default=10_000, ge=1_000)
    """Without a heartbeat for so long, a worker's partitions go to others."""
    transactions: bool = True
    """Write each checkpoint as one transaction; False only for the embedded broker, which knows none."""
    checkpoint_ms: int = Field(default=1_000, gt=0)
    """A checkpoint at least so often."""
    checkpoint_events: int = Field(default=20_000, gt=0)
    """A checkpoint after so many events."""
    checkpoint_bytes: int = Field(default=16 * MB, gt=0)
    """A checkpoint after so many bytes."""
    fetch_wait_ms: int = Field(default=250, gt=0)
    """How long the broker may hold an answer that has nothing in it."""
    accept_lost_offsets: bool = False
    """Go on where step events were deleted before they were read; it is reported either way."""
    routing_rules: Path | None = None
    """TOML file of routing rules per system; without it every failure is traced."""
    limits: Limits = Limits()
    """How long, how large and how many trajectories may be."""
