"""The settings of the sink: environment variables `AGENTRACER_…` over the settings file, every default written here."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from schemas.topics import MB

from .settings import ConfiguredSettings, InstanceId

Days = Annotated[int, Field(ge=1, le=20_000)]


class SinkSettings(ConfiguredSettings):
    """What a sink runs with; the names without `sink_` are shared with other roles."""

    bootstrap: str = "127.0.0.1:9092"
    """Brokers, as host:port, comma-separated."""
    clickhouse_url: str = Field(default="http://127.0.0.1:8123/agentracer", repr=False)
    """ClickHouse, as `http://user:password@host:8123/database`."""
    sink_group: str = "sink"
    """Consumer group of the sinks."""
    instance_id: InstanceId = None
    """Static membership: a name of this worker's own, the same after a restart."""
    session_timeout_ms: int = Field(default=10_000, ge=1_000)
    """Without a heartbeat for so long, a sink's partitions go to others."""
    transactions: bool = True
    """The broker knows idempotent producers; False only for the embedded one, which knows none."""
    sink_batch_rows: int = Field(default=10_000, gt=0)
    """A batch is written when it has so many rows."""
    sink_batch_bytes: int = Field(default=32 * MB, gt=0)
    """A batch is written when it came from so many bytes; two are held at most, and what one fetch brought."""
    sink_flush_ms: int = Field(default=500, gt=0)
    """A batch is written at least so often."""
    sink_start_s: float = Field(default=15.0, gt=0)
    """So long the store and the broker are waited for at the start; later, without limit."""
    sink_stop_s: float = Field(default=15.0, ge=0)
    """So long a stopping sink tries to write what it has read; what is left is read again by the next."""
    step_retention_days: Days = 90
    """Steps are kept for so long after their trajectory was opened; `agentracer migrate` applies it."""
    retention_days: Days = 400
    """Everything else is kept for so long, and labels for ever; `agentracer migrate` applies it."""


def database_of(url: str) -> str:
    """Return the database that a ClickHouse URL names; `agentracer` if it names none."""
    return urlsplit(url).path.strip("/") or "agentracer"
