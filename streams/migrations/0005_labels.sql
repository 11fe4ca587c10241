-- What we hold true is kept for ever: it has neither partitions nor a TTL.

CREATE TABLE IF NOT EXISTS labels_raw
(
    label_id         String,
    trajectory_id    String,
    opened_at        Nullable(DateTime64(3, 'UTC')),
    agent            LowCardinality(String),
    step_index       UInt32,
    event_id         Nullable(String),
    source           LowCardinality(String),
    annotator        LowCardinality(String),
    reason           Nullable(String) CODEC(ZSTD(1)),
    labelled_at      DateTime64(3, 'UTC'),
    record_partition UInt32,
    record_offset    Int64,
    recorded_at      DateTime64(3, 'UTC'),
    version          UInt64 COMMENT 'recorded_at: the latest stands'
)
ENGINE = {engine}
ORDER BY label_id
SETTINGS non_replicated_deduplication_window = 1000;

CREATE OR REPLACE VIEW labels AS
SELECT * EXCEPT (version) FROM labels_raw FINAL;
