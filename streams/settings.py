"""The settings of the streams worker: environment variables `AGENTRACER_…` over the settings file, every default
written here.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from schemas.config_file import PREFIX, readable_config
from schemas.topics import MB

from .brake import BrakeLimits
from .limits import Limits

InstanceId = Annotated[str | None, BeforeValidator(lambda value: value or None)]
"""Static membership; all workers with the empty name would be one member and throw each other out for ever."""


class ConfiguredSettings(BaseSettings):
    """Settings from arguments, else the environment, else the settings file, else the defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", use_attribute_docstrings=True, frozen=True, extra="ignore"
    )

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


class StreamsSettings(ConfiguredSettings):
    """What a streams worker runs with; nested values as `AGENTRACER_LIMITS__IDLE_MS`."""

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
    streams_stop_s: float = Field(default=30.0, ge=0)
    """So long a stopping worker tries to write its last checkpoint; without it the next one reads a little again."""
    accept_lost_offsets: bool = False
    """Go on where step events were deleted before they were read; it is reported either way."""
    routing_rules: Path | None = None
    """TOML file of routing rules per system; without it every failure is traced."""
    limits: Limits = Limits()
    """How long, how large and how many trajectories may be."""
    brake: BrakeLimits = BrakeLimits()
    """How much of a partition may be rubbish before its worker stops."""
