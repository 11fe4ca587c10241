-- The address (topic, partition, offset, line) is that of the message that could not be accepted; the record's own
-- place on `dead-letters` is record_partition and record_offset.

CREATE TABLE IF NOT EXISTS dead_letters_raw
(
    topic            LowCardinality(String),
    partition        UInt32,
    offset           Int64,
    line             UInt32,
    reason           LowCardinality(String),
    message          String,
    stage            LowCardinality(String),
    key              Nullable(String) COMMENT 'bytes as they came, of any encoding',
    value            Nullable(String) CODEC(ZSTD(1)) COMMENT 'bytes as they came, of any encoding',
    at               DateTime64(3, 'UTC'),
    record_partition UInt32,
    record_offset    Int64,
    recorded_at      DateTime64(3, 'UTC'),
    version          UInt64 COMMENT 'recorded_at: the latest stands, and goes last'
)
ENGINE = {engine}
ORDER BY (topic, partition, offset, line)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE OR REPLACE VIEW dead_letters AS
SELECT * EXCEPT (version) FROM dead_letters_raw FINAL;
