"""Every error the product raises on purpose, and the exit code it ends a command with.

    AgentracerError (1)
    ├── SettingsError (2)        a setting, an argument or a file is wrong
    ├── UnavailableError (3)     something outside is not there
    │   ├── BrokerUnavailableError
    │   ├── StoreUnavailableError
    │   └── KafkaUnavailableError   no Java or Maven to run Apache Kafka with
    ├── TopicError (4)           a topic is missing, or not as the table has it
    ├── StateError (5)           the state or the log is not what this worker may go on from
    │   ├── PartitionCountError
    │   └── OffsetsLostError
    ├── LimitError (6)           too much rubbish: a person has to look
    └── EngineError (7)          the model that traces can't be loaded, or fails
        ├── ContextError            a request is longer than the model reads
        └── AdapterError            an adapter does not fit the base model

Rules: the message says what, which and what to do, in one sentence; the command line prints it without a trace.
"""

from typing import ClassVar


class AgentracerError(Exception):
    """What went wrong, which thing, and what to do."""

    exit_code: ClassVar[int] = 1


class SettingsError(AgentracerError):
    """A setting, an argument or a file is wrong."""

    exit_code = 2


class UnavailableError(AgentracerError):
    """Something outside is not there."""

    exit_code = 3


class BrokerUnavailableError(UnavailableError):
    """No broker answers."""


class StoreUnavailableError(UnavailableError):
    """No ClickHouse answers."""


class KafkaUnavailableError(UnavailableError):
    """Apache Kafka can't be run here: Java or Maven is missing."""


class TopicError(AgentracerError):
    """A topic is missing, or not as the table has it."""

    exit_code = 4


class StateError(AgentracerError):
    """The state or the log is not what this worker may go on from."""

    exit_code = 5


class PartitionCountError(StateError):
    """`step-events` has another number of partitions than the state was written for."""


class OffsetsLostError(StateError):
    """The broker deleted step events that were never read."""


class LimitError(AgentracerError):
    """Too many bad messages: a person has to look."""

    exit_code = 6


class EngineError(AgentracerError):
    """The model that traces can't be loaded, or fails."""

    exit_code = 7


class ContextError(EngineError):
    """A request is longer than the model reads."""


class AdapterError(EngineError):
    """An adapter does not fit the base model."""
