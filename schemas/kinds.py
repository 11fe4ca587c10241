"""The closed sets of the contracts: every word here has one meaning, on the wire and in the store.

Rules: a member is added, never renamed or removed, within a schema version.
"""

from enum import StrEnum


class StepKind(StrEnum):
    """What one step of an agent was."""

    MESSAGE = "message"
    LLM = "llm"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    HANDOFF = "handoff"
    PLAN = "plan"
    RETRIEVAL = "retrieval"
    GUARDRAIL = "guardrail"
    OTHER = "other"


class KeySource(StrEnum):
    """Which identifier of the sender became the trajectory id, first match first."""

    RUN_ID = "run_id"
    CONVERSATION_ID = "conversation_id"
    SESSION_ID = "session_id"
    TRACE_ID = "trace_id"


class Result(StrEnum):
    """The task's result."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


class CloseReason(StrEnum):
    """Why a trajectory was closed; what a limit closed takes no further steps."""

    COMPLETED = "completed"
    """Its last step said so."""
    IDLE = "idle"
    """Nothing came for the idle timeout of partition time."""
    TOO_LONG = "too_long"
    """It reached the limit on steps or bytes of one trajectory."""
    TOO_OLD = "too_old"
    """It stayed open for longer than a trajectory may."""
    MEMORY = "memory"
    """Its partition held too many open trajectories or bytes, and it was the longest quiet."""

    @property
    def is_limit(self) -> bool:
        """Whether a limit closed it."""
        return self in {CloseReason.TOO_LONG, CloseReason.TOO_OLD, CloseReason.MEMORY}


class RouteReason(StrEnum):
    """Why a trajectory is traced."""

    FAILURE = "failure"
    """Its outcome says failure."""
    SCORE = "score"
    """Its score is under the system's threshold."""
    ERROR = "error"
    """No outcome came, and its last step ended in an error."""
    IDLE = "idle"
    """No outcome came, and the system's rule counts an idle end as failure."""
    SAMPLED = "sampled"
    """A success, drawn by the sampling share."""


class VerdictStatus(StrEnum):
    """How a verdict came out."""

    ATTRIBUTED = "attributed"
    ABSTAINED = "abstained"
    UNPARSABLE = "unparsable"
    OUT_OF_RANGE = "out_of_range"
    OVERLONG = "overlong"
    SHED = "shed"


class VerdictPurpose(StrEnum):
    """What a verdict was made for; only `serve` counts until another is adopted."""

    SERVE = "serve"
    SHADOW = "shadow"
    RETRACE = "retrace"


class LabelSource(StrEnum):
    """Where a label comes from."""

    COUNTERFACTUAL_REPLAY = "counterfactual_replay"
    FAULT_INJECTION = "fault_injection"
    HUMAN = "human"


class FailureClass(StrEnum):
    """What kind of failure it was (list version 1, after the MAST taxonomy of multi-agent failures)."""

    DISOBEYS_TASK = "disobeys_task"
    DISOBEYS_ROLE = "disobeys_role"
    STEP_REPETITION = "step_repetition"
    LOST_CONTEXT = "lost_context"
    UNAWARE_OF_END = "unaware_of_end"
    CONVERSATION_RESET = "conversation_reset"
    NO_CLARIFICATION = "no_clarification"
    TASK_DERAILMENT = "task_derailment"
    INFORMATION_WITHHELD = "information_withheld"
    INPUT_IGNORED = "input_ignored"
    REASONING_ACTION_MISMATCH = "reasoning_action_mismatch"
    PREMATURE_END = "premature_end"
    NO_VERIFICATION = "no_verification"
    WRONG_VERIFICATION = "wrong_verification"
    UNKNOWN = "unknown"


class DeadLetterReason(StrEnum):
    """Why a message could not be accepted."""

    EMPTY = "empty"
    """No value (a tombstone) or a blank record."""
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    """Not JSON, or JSON nested beyond what is read."""
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_VERSION = "unknown_version"
    INVALID = "invalid"
    """JSON that is not the contract: a missing or unknown key, a wrong type, a bad id, NaN."""
    TIMESTAMP = "timestamp"
    """A time before 2000 or more than a day ahead of the broker."""
    TOO_LARGE = "too_large"
    """One event larger than a whole trajectory may be, or a compressed batch that holds more than is opened."""
    CONFLICT = "conflict"
    """The same event id with other content; the first stands."""
    OVER_LIMIT = "over_limit"
    """A step of a trajectory that a limit has closed."""
    MISROUTED = "misrouted"
    """A forwarded event that is still not at its home partition."""
    UNPROCESSABLE = "unprocessable"
    """It raised where nothing should raise."""
    UNTRACEABLE = "untraceable"
    """The tracer could not read it as a trajectory."""
    UNSTORABLE = "unstorable"
    """The store refuses the row itself."""


class PipelineEventKind(StrEnum):
    """What the pipeline reports about itself."""

    MARKERS_EVICTED = "markers_evicted"
    """Closed-markers left before their late window ended, for lack of room."""
    MEMORY_CLOSED = "memory_closed"
    """Open trajectories were closed because their partition was full."""
    OFFSETS_LOST = "offsets_lost"
    """Step events were deleted by the broker before they were read."""
    REDRIVEN = "redriven"
    """A person sent a dead letter back to its topic."""
    CONTENT_LOST = "content_lost"
    """A closed trajectory could not be read back; its next revision holds only what came late."""
    ADAPTER_REFUSED = "adapter_refused"
    """A promoted adapter can't be served by a tracer, which goes on with the one before."""
