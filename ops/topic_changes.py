"""How the broker's topics differ from the table. Pure.

Rules: the topics of the assembler have as many partitions as `step-events`, since a trajectory's home depends on it:
another number is refused, never changed; of the settings only those of the table count.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from schemas import TOPICS, TopicName
from schemas.errors import TopicError


class FoundTopic(NamedTuple):
    """A topic as the broker has it; `own` are the settings made on it, `config` all that the broker tells."""

    partitions: int
    replicas: int
    config: dict[str, str]
    own: dict[str, str]


class Change(NamedTuple):
    """What was done to a topic; `skipped` is what differs and this broker can't change."""

    topic: TopicName
    kind: Literal["created", "altered", "skipped"]
    detail: str


class Problem(NamedTuple):
    """What is wrong with a topic, and what to do."""

    topic: TopicName
    message: str


def problems(found: Mapping[TopicName, FoundTopic]) -> Iterator[Problem]:
    """Yield whatever is missing or not as the table has it."""
    source = found.get(TopicName.STEP_EVENTS)
    for name, topic in TOPICS.items():
        own = found.get(name)
        if own is None:
            yield Problem(name, missing(name))
            continue
        wanted = topic.partitions or (source.partitions if source else own.partitions)
        if own.partitions != wanted:
            yield Problem(name, _other_partitions(name, own.partitions, wanted))
        for key, value in differing(name, own).items():
            is_value = f"topic {name.value!r} has {key}={own.config.get(key)!r}, the table says {value!r}"
            yield Problem(name, f"{is_value}; set it with `agentracer topics apply`")


def missing(name: str) -> str:
    """Say that a topic is not there."""
    return f"topic {str(name)!r} is missing; create it with `agentracer topics apply`"


def differing(name: TopicName, found: FoundTopic) -> dict[str, str]:
    """Return the table's settings that the broker has otherwise, or not at all."""
    wanted = TOPICS[name].config(found.replicas)
    return {key: value for key, value in wanted.items() if found.config.get(key) != value}


def refuse_other_partitions(found: Mapping[TopicName, FoundTopic], partitions: int) -> None:
    """Raise TopicError if a topic of the assembler exists with another number of partitions."""
    for name, topic in found.items():
        if TOPICS[name].partitions is None and topic.partitions != partitions:
            raise TopicError(_other_partitions(name, topic.partitions, partitions))


def _other_partitions(name: TopicName, found: int, wanted: int) -> str:
    return (
        f"topic {name.value!r} has {found!r} partitions, not {wanted!r}; keep that number, or drain the pipeline, "
        "delete the topics and create them anew: a trajectory's home depends on it"
    )
