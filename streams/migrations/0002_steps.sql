-- A step is never taken out of a trajectory by a later revision, so the latest row of every event id is exactly
-- the latest revision's list of steps.

CREATE TABLE IF NOT EXISTS steps_raw
(
    trajectory_id  String,
    opened_at      DateTime64(3, 'UTC') COMMENT 'the trajectory''s',
    event_id       String,
    revision       UInt32,
    position       UInt32 COMMENT 'the step index: 0-based place in the revision',
    key_source     LowCardinality(String),
    tenant         LowCardinality(String),
    task_id        Nullable(String),
    task           Nullable(String) CODEC(ZSTD(1)),
    system         LowCardinality(String),
    system_version LowCardinality(Nullable(String)),
    agent          LowCardinality(String),
    agent_version  LowCardinality(Nullable(String)),
    agent_role     LowCardinality(Nullable(String)),
    kind           LowCardinality(String),
    step_index     Nullable(UInt32) COMMENT 'the producer''s own sequence',
    parent_id      Nullable(String),
    content        String CODEC(ZSTD(1)),
    input          Nullable(String) CODEC(ZSTD(1)),
    tool_name      LowCardinality(Nullable(String)),
    tool_call_id   Nullable(String),
    tool_arguments Nullable(String) CODEC(ZSTD(1)) COMMENT 'JSON',
    tool_result    Nullable(String) CODEC(ZSTD(1)) COMMENT 'JSON',
    tool_error     Nullable(String) CODEC(ZSTD(1)),
    error_type     LowCardinality(Nullable(String)),
    model          LowCardinality(Nullable(String)),
    input_tokens   Nullable(UInt32),
    output_tokens  Nullable(UInt32),
    started_at     DateTime64(6, 'UTC'),
    ended_at       Nullable(DateTime64(6, 'UTC')),
    final          Bool,
    truncated      Bool,
    result         LowCardinality(Nullable(String)) COMMENT 'the outcome that came with the step',
    score          Nullable(Float64),
    evaluator      LowCardinality(Nullable(String)),
    outcome_reason Nullable(String),
    ground_truth   Nullable(String),
    attributes     String CODEC(ZSTD(1)) COMMENT 'JSON object',
    version        UInt64 COMMENT 'the revision: the latest stands'
)
ENGINE = {engine}
PARTITION BY toYYYYMM(opened_at)
ORDER BY (trajectory_id, opened_at, event_id)
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

CREATE OR REPLACE VIEW steps AS
SELECT * EXCEPT (version) FROM steps_raw FINAL;
