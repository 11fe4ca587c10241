"""The base tables of the store: the name and type of each column, in the order in which a row is written.

The migrations create them (with what a column is for); a test holds these lists to what they create. Since the
types are given, an insert asks the store for nothing.
"""

from typing import NamedTuple


class Table(NamedTuple):
    """A base table's name, and the name and type of each of its columns, in the order of a row."""

    name: str
    columns: tuple[tuple[str, str], ...]


def _table(name: str, text: str) -> Table:
    columns = (line.split(maxsplit=1) for line in text.splitlines() if line)
    return Table(name, tuple((column, kind) for column, kind in columns))


_PLACE = """    record_partition UInt32
    record_offset    Int64
    recorded_at      DateTime64(3, 'UTC')
    version          UInt64
"""

TRAJECTORIES = _table(
    "trajectories_raw",
    """
    trajectory_id  String
    opened_at      DateTime64(3, 'UTC')
    revision       UInt32
    key_source     LowCardinality(String)
    tenant         LowCardinality(String)
    system         LowCardinality(String)
    system_version LowCardinality(Nullable(String))
    task_id        Nullable(String)
    task           Nullable(String)
    result         LowCardinality(Nullable(String))
    score          Nullable(Float64)
    evaluator      LowCardinality(Nullable(String))
    outcome_reason Nullable(String)
    ground_truth   Nullable(String)
    outcome_at     Nullable(DateTime64(3, 'UTC'))
    close_reason   LowCardinality(String)
    closed_at      DateTime64(3, 'UTC')
    step_count     UInt32
    gaps           Array(UInt32)
    gap_count      UInt32
    truncations    Array(String)
    route_reason   LowCardinality(Nullable(String))
    over_budget    Bool
"""
    + _PLACE,
)
STEPS = _table(
    "steps_raw",
    """
    trajectory_id  String
    opened_at      DateTime64(3, 'UTC')
    event_id       String
    revision       UInt32
    position       UInt32
    key_source     LowCardinality(String)
    tenant         LowCardinality(String)
    task_id        Nullable(String)
    task           Nullable(String)
    system         LowCardinality(String)
    system_version LowCardinality(Nullable(String))
    agent          LowCardinality(String)
    agent_version  LowCardinality(Nullable(String))
    agent_role     LowCardinality(Nullable(String))
    kind           LowCardinality(String)
    step_index     Nullable(UInt32)
    parent_id      Nullable(String)
    content        String
    input          Nullable(String)
    tool_name      LowCardinality(Nullable(String))
    tool_call_id   Nullable(String)
    tool_arguments Nullable(String)
    tool_result    Nullable(String)
    tool_error     Nullable(String)
    error_type     LowCardinality(Nullable(String))
    model          LowCardinality(Nullable(String))
    input_tokens   Nullable(UInt32)
    output_tokens  Nullable(UInt32)
    started_at     DateTime64(6, 'UTC')
    ended_at       Nullable(DateTime64(6, 'UTC'))
    final          Bool
    truncated      Bool
    result         LowCardinality(Nullable(String))
    score          Nullable(Float64)
    evaluator      LowCardinality(Nullable(String))
    outcome_reason Nullable(String)
    ground_truth   Nullable(String)
    attributes     String
    version        UInt64
""",
)
OUTCOMES = _table(
    "outcomes_raw",
    """
    trajectory_id String
    event_id      String
    tenant        LowCardinality(String)
    task_id       Nullable(String)
    task          Nullable(String)
    result        LowCardinality(String)
    score         Nullable(Float64)
    evaluator     LowCardinality(Nullable(String))
    reason        Nullable(String)
    ground_truth  Nullable(String)
    at            DateTime64(3, 'UTC')
    final         Bool
    step_count    Nullable(UInt32)
"""
    + _PLACE,
)
VERDICTS = _table(
    "verdicts_raw",
    """
    trajectory_id         String
    opened_at             DateTime64(3, 'UTC')
    revision              UInt32
    purpose               LowCardinality(String)
    tracer                LowCardinality(String)
    tracer_version        LowCardinality(String)
    verdict_id            String
    tenant                LowCardinality(String)
    system                LowCardinality(String)
    system_version        LowCardinality(Nullable(String))
    task_id               Nullable(String)
    route_reason          LowCardinality(Nullable(String))
    status                LowCardinality(String)
    agent                 LowCardinality(Nullable(String))
    agent_version         LowCardinality(Nullable(String))
    step_index            Nullable(UInt32)
    event_id              Nullable(String)
    reason                Nullable(String)
    reason_source         LowCardinality(Nullable(String))
    evidence              String
    confidence            Nullable(Float64)
    alternatives          String
    failure_path          Array(UInt32)
    failure_class         LowCardinality(String)
    failure_class_version UInt32
    prompt_version        LowCardinality(Nullable(String))
    seeds                 Array(String)
    attempts              UInt32
    input_tokens          UInt32
    output_tokens         UInt32
    cached_tokens         UInt32
    queued_ms             UInt32
    traced_ms             UInt32
    decided_at            DateTime64(3, 'UTC')
"""
    + _PLACE,
)
STANDING_VERDICTS = Table("standing_verdicts_raw", VERDICTS.columns)
LABELS = _table(
    "labels_raw",
    """
    label_id      String
    trajectory_id String
    opened_at     Nullable(DateTime64(3, 'UTC'))
    agent         LowCardinality(String)
    step_index    UInt32
    event_id      Nullable(String)
    source        LowCardinality(String)
    annotator     LowCardinality(String)
    reason        Nullable(String)
    labelled_at   DateTime64(3, 'UTC')
"""
    + _PLACE,
)
DEAD_LETTERS = _table(
    "dead_letters_raw",
    """
    topic     LowCardinality(String)
    partition UInt32
    offset    Int64
    line      UInt32
    reason    LowCardinality(String)
    message   String
    stage     LowCardinality(String)
    key       Nullable(String)
    value     Nullable(String)
    at        DateTime64(3, 'UTC')
"""
    + _PLACE,
)
PIPELINE_EVENTS = _table(
    "pipeline_events_raw",
    """
    pipeline_event_id String
    kind              LowCardinality(String)
    topic             LowCardinality(String)
    partition         UInt32
    count             UInt32
    detail            String
    at                DateTime64(3, 'UTC')
"""
    + _PLACE,
)

TABLES = (
    STEPS,
    TRAJECTORIES,
    OUTCOMES,
    VERDICTS,
    STANDING_VERDICTS,
    LABELS,
    DEAD_LETTERS,
    PIPELINE_EVENTS,
)
"""In the order they are written: a trajectory that can be seen has its steps."""
