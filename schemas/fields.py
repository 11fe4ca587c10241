"""The field types and the model configuration that every contract shares.

Rules: models are frozen, strict (no coercion), refuse unknown keys, NaN and infinities; an id is 1 to 256
characters without control characters; a time has an offset.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

SCHEMA_VERSION = 1
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class Contract(BaseModel):
    """What every message on a topic is."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
    )


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC it is not within the years 1 to 9999") from error


Id = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An identifier or a name: 1 to 256 characters, no control characters."""

Name = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A version, a role or another short text that may be empty."""

UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A time with an offset, held in UTC."""

Index = Annotated[int, Field(ge=0, le=2**31 - 1)]
Attributes = dict[str, JsonValue]
