"""The roles that run as processes of their own."""

from enum import StrEnum


class Role(StrEnum):
    """A worker; the order is that in which data passes them."""

    STREAMS = "streams"
    TRACER = "tracer"
    SINK = "sink"
