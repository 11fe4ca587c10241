-- Rules of every table here:
-- the base table NAME_raw is a ReplacingMergeTree(version) whose ORDER BY is the row's identity: a row that is
-- written again replaces itself, so a redelivery changes nothing; people read the view NAME, which is FINAL;
-- PARTITION BY and TTL use columns of the identity, or the time that makes the version, so that no version of a
-- row lies elsewhere or goes later than the one that stands. Which TTL there is, is a setting: see migrate.py.

CREATE TABLE IF NOT EXISTS trajectories_raw
(
    trajectory_id    String,
    opened_at        DateTime64(3, 'UTC') COMMENT 'broker time of the first event; with the id, the identity',
    revision         UInt32,
    key_source       LowCardinality(String),
    tenant           LowCardinality(String),
    system           LowCardinality(String),
    system_version   LowCardinality(Nullable(String)),
    task_id          Nullable(String),
    task             Nullable(String) CODEC(ZSTD(1)),
    result           LowCardinality(Nullable(String)) COMMENT 'success, failure, unknown; null: no outcome came',
    score            Nullable(Float64),
    evaluator        LowCardinality(Nullable(String)),
    outcome_reason   Nullable(String),
    ground_truth     Nullable(String),
    outcome_at       Nullable(DateTime64(3, 'UTC')),
    close_reason     LowCardinality(String),
    closed_at        DateTime64(3, 'UTC') COMMENT 'partition time',
    step_count       UInt32,
    gaps             Array(UInt32),
    gap_count        UInt32,
    truncations      Array(String),
    route_reason     LowCardinality(Nullable(String)) COMMENT 'why it is traced; null: it is not',
    over_budget      Bool COMMENT 'routed, but the tracing budget had no room',
    record_partition UInt32 COMMENT 'where the record stands on its topic',
    record_offset    Int64,
    recorded_at      DateTime64(3, 'UTC') COMMENT 'the record''s time on its topic',
    version          UInt64 COMMENT 'the revision: the latest stands'
)
ENGINE = {engine}
PARTITION BY toYYYYMM(opened_at)
ORDER BY (trajectory_id, opened_at)
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

CREATE OR REPLACE VIEW trajectories AS
SELECT * EXCEPT (version) FROM trajectories_raw FINAL;
