"""The tracer worker's settings: arguments, else `AGENTRACER_<FIELD>` in the environment, else the settings file.

Rules: a field says its unit in its name; what another role shares has the same name there.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from schemas import VerdictPurpose
from schemas.config_file import PREFIX, readable_config
from tracer.engines.openai_wire import OpenAISettings
from tracer.engines.vllm import VllmSettings

from .model import ModelOptions
from .rules import UNCOUNTED


class TracerSettings(BaseSettings):
    """How one tracer worker reads, traces and answers."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", use_attribute_docstrings=True, frozen=True, extra="ignore"
    )

    bootstrap: str = "127.0.0.1:9092"
    """Brokers, as host:port, comma-separated."""
    transactions: bool = True
    """Write through an idempotent producer; False only for the embedded broker, which knows none."""
    instance_id: str | None = None
    """Static membership: a name of this worker's own; a restart within the session timeout moves no partition."""
    session_timeout_ms: int = Field(default=10_000, ge=1_000)
    """How long the broker waits for a silent worker before it gives its partitions away."""
    heartbeat_ms: int = Field(default=3_000, ge=100)
    """How often the worker tells the broker that it lives."""
    max_poll_interval_ms: int = Field(default=60_000, ge=1_000)
    """How long the worker may go without polling before it leaves its group; verdicts may take longer."""
    poll_ms: int = Field(default=200, ge=1, le=30_000)
    """How long one poll waits for records."""
    start_timeout_s: float = Field(default=20.0, gt=0)
    """How long the broker has to answer at start."""

    tracer: str = "commonest_agent"
    """Which tracer gives the verdicts: a rule without a model, or a method that asks one."""
    engine: Literal["vllm", "openai"] = "vllm"
    """Where a method's model runs: in this process, or behind an endpoint."""
    vllm: VllmSettings = VllmSettings()
    """The model in this process."""
    openai: OpenAISettings = OpenAISettings()
    """The endpoint."""
    ask: ModelOptions = ModelOptions()
    """How a model is asked about every trajectory."""
    tracer_follows_promotions: bool = True
    """Serve what is promoted on the topic `promotions`; a model that is asked about only."""
    tracer_shadow_adapter: Path | None = None
    """A candidate that traces a share of the failures too, by the same method; its verdicts are marked `shadow` and
    count nowhere. It has an engine of its own: on a CPU as much memory again, on a GPU half of `gpu_memory_share`;
    an endpoint has to hold both adapters, and is asked within its limits by either."""
    tracer_shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Of how many failures; which ones is a hash of trajectory and revision. One is traced at a time, and only while
    no failure waits for its turn; after a kill a shadow's verdict may be missing, or come twice."""
    tracer_uncounted: frozenset[str] = UNCOUNTED
    """Speakers that the tracer `commonest_agent` doesn't count."""
    tracer_group: str = Field(default="tracer", min_length=1)
    """The consumer group; a worker that re-traces, or does nothing but shadow, has one of its own."""
    tracer_concurrency: int = Field(default=16, ge=1)
    """How many trajectories are in work at once."""
    tracer_window: int = Field(default=1_000, ge=1)
    """How many trajectories are read ahead of those in work; among them the order is chosen."""
    tracer_window_bytes: int = Field(default=64_000_000, ge=1)
    """How many bytes of trajectories are kept; of those read ahead the oldest are read again when their turn comes."""
    tracer_wait_s: float = Field(default=900.0, gt=0)
    """How long a failure may wait behind newer ones, and those of other systems."""
    tracer_overdue: Literal["next", "shed"] = "next"
    """What happens to one that waited longer: it is traced next, or gets a rule's verdict with the status `shed`."""
    trace_purpose: VerdictPurpose = VerdictPurpose.SERVE
    """What the verdicts are for; only `serve` counts."""
    trace_timeout_s: float = Field(default=600.0, gt=0)
    """How long one trace may take; past it the verdict is `overlong`."""
    trace_attempts: int = Field(default=3, ge=1, le=35)
    """How often a trajectory is tried, crashes of the worker counted; with 1, what was beside a poison shares its
    fate, since only the last of several attempts runs alone."""
    trace_backoff_s: float = Field(default=1.0, ge=0)
    """How long to wait after a failed attempt; doubled after each."""
    drain_timeout_s: float = Field(default=30.0, ge=0)
    """How long a worker that is told to stop goes on with what is in work."""

    @field_validator("instance_id")
    @classmethod
    def _empty_is_none(cls, value: str | None) -> str | None:
        """All workers with the empty name would be one member and throw each other out for ever."""
        return value or None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there is no such file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - nor such a folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first; raises SettingsError where the file can't be read."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, readable_config())
