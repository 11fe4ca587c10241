-- Every verdict is written to verdicts_raw, and one made to serve to standing_verdicts_raw as well. In both the
-- record with the lowest offset stands. A trajectory's records are all on one partition, so its offsets have an
-- order. standing_verdicts_raw has one row for a revision, whichever tracer wrote it: what `verdicts` shows and
-- what counts.

CREATE TABLE IF NOT EXISTS verdicts_raw
(
    trajectory_id         String,
    opened_at             DateTime64(3, 'UTC'),
    revision              UInt32,
    purpose               LowCardinality(String),
    tracer                LowCardinality(String),
    tracer_version        LowCardinality(String),
    verdict_id            String,
    tenant                LowCardinality(String),
    system                LowCardinality(String),
    system_version        LowCardinality(Nullable(String)),
    task_id               Nullable(String),
    route_reason          LowCardinality(Nullable(String)),
    status                LowCardinality(String),
    agent                 LowCardinality(Nullable(String)),
    agent_version         LowCardinality(Nullable(String)),
    step_index            Nullable(UInt32),
    event_id              Nullable(String),
    reason                Nullable(String) CODEC(ZSTD(1)),
    reason_source         LowCardinality(Nullable(String)),
    evidence              String CODEC(ZSTD(1)) COMMENT 'JSON array of {step_index, event_id, quote}',
    confidence            Nullable(Float64),
    alternatives          String CODEC(ZSTD(1)) COMMENT 'JSON array of {agent, step_index, event_id, score}',
    failure_path          Array(UInt32),
    failure_class         LowCardinality(String),
    failure_class_version UInt32,
    prompt_version        LowCardinality(Nullable(String)),
    seeds                 Array(String) COMMENT 'as text: a seed may have more than 64 bits',
    attempts              UInt32,
    input_tokens          UInt32,
    output_tokens         UInt32,
    cached_tokens         UInt32,
    queued_ms             UInt32,
    traced_ms             UInt32,
    decided_at            DateTime64(3, 'UTC'),
    record_partition      UInt32,
    record_offset         Int64,
    recorded_at           DateTime64(3, 'UTC'),
    version               UInt64 COMMENT '2^64 - 1 - record_offset: the first stands'
)
ENGINE = {engine}
PARTITION BY toYYYYMM(opened_at)
ORDER BY (trajectory_id, opened_at, revision, purpose, tracer, tracer_version)
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS standing_verdicts_raw AS verdicts_raw
ENGINE = {engine}
PARTITION BY toYYYYMM(opened_at)
ORDER BY (trajectory_id, opened_at, revision)
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

CREATE OR REPLACE VIEW verdicts AS
SELECT * EXCEPT (version) FROM standing_verdicts_raw FINAL;

-- Standing ones and the others: what another tracer version said later, shadows and retraces.
CREATE OR REPLACE VIEW verdicts_all AS
SELECT
    a.* EXCEPT (version),
    toUInt8((a.verdict_id, a.record_offset) = (s.verdict_id, s.record_offset)) AS standing
FROM (SELECT * FROM verdicts_raw FINAL) AS a
LEFT JOIN
(
    SELECT trajectory_id, opened_at, revision, verdict_id, record_offset FROM standing_verdicts_raw FINAL
) AS s ON a.trajectory_id = s.trajectory_id AND a.opened_at = s.opened_at AND a.revision = s.revision;
