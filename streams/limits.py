"""How long, how large and how many trajectories may be; the assembler's only knobs."""

from pydantic import BaseModel, ConfigDict, Field

from schemas.topics import MB

MINUTE_MS = 60_000


class Limits(BaseModel):
    """Times in milliseconds of partition time, sizes in bytes of the events as they came."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    idle_ms: int = Field(default=10 * MINUTE_MS, gt=0)
    """A trajectory without an end is closed when nothing came for it for so long."""
    grace_ms: int = Field(default=2_000, ge=0)
    """How long an end, or an outcome for a closed trajectory, waits for what is still on its way."""
    late_window_ms: int = Field(default=60 * MINUTE_MS, ge=0)
    """For so long after its close a late step or outcome makes a further revision."""
    max_age_ms: int = Field(default=24 * 60 * MINUTE_MS, gt=0)
    """A trajectory that is still open after so long is closed as too_old."""
    max_gap_ms: int = Field(default=1_000, gt=0)
    """A gap that nobody watched counts as this much towards idleness."""
    max_steps: int = Field(default=10_000, gt=0)
    """Events of one trajectory; what comes after is a dead letter."""
    max_bytes: int = Field(default=16 * MB, gt=0, le=20 * MB)
    """Bytes of one trajectory."""
    max_open: int = Field(default=200_000, gt=0)
    """Open trajectories of one partition; the longest quiet is closed first."""
    max_open_bytes: int = Field(default=512 * MB, gt=0)
    """Bytes of a partition's open trajectories."""
    max_marker_bytes: int = Field(default=128 * MB, ge=0)
    """Bytes of a partition's closed-markers; the oldest leave first, and it is reported."""
    cache_bytes: int = Field(default=32 * MB, ge=0)
    """Bytes of recently closed trajectories kept, so that a prompt outcome needs no reading back."""
