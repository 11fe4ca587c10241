CREATE TABLE IF NOT EXISTS pipeline_events_raw
(
    pipeline_event_id String,
    kind              LowCardinality(String),
    topic             LowCardinality(String),
    partition         UInt32,
    count             UInt32,
    detail            String COMMENT 'JSON object',
    at                DateTime64(3, 'UTC'),
    record_partition  UInt32,
    record_offset     Int64,
    recorded_at       DateTime64(3, 'UTC'),
    version           UInt64 COMMENT 'recorded_at: the latest stands, and goes last'
)
ENGINE = {engine}
ORDER BY pipeline_event_id
SETTINGS non_replicated_deduplication_window = 1000;

CREATE OR REPLACE VIEW pipeline_events AS
SELECT * EXCEPT (version) FROM pipeline_events_raw FINAL;
