-- Outcomes that belong to no published revision: their run brought nothing else, or was closed long before.

CREATE TABLE IF NOT EXISTS outcomes_raw
(
    trajectory_id    String,
    event_id         String,
    tenant           LowCardinality(String),
    task_id          Nullable(String),
    task             Nullable(String) CODEC(ZSTD(1)),
    result           LowCardinality(String),
    score            Nullable(Float64),
    evaluator        LowCardinality(Nullable(String)),
    reason           Nullable(String),
    ground_truth     Nullable(String),
    at               DateTime64(3, 'UTC'),
    final            Bool,
    step_count       Nullable(UInt32),
    record_partition UInt32,
    record_offset    Int64,
    recorded_at      DateTime64(3, 'UTC'),
    version          UInt64 COMMENT 'recorded_at: the latest stands, and goes last'
)
ENGINE = {engine}
ORDER BY (trajectory_id, event_id)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE OR REPLACE VIEW outcomes AS
SELECT * EXCEPT (version) FROM outcomes_raw FINAL;

-- Each lone outcome beside the run of its id that was opened last before it came; opened_at is null when there is
-- none.
CREATE OR REPLACE VIEW outcomes_joined AS
SELECT
    o.*,
    nullIf(t.opened_at, toDateTime64(0, 3, 'UTC')) AS opened_at,
    t.system AS system,
    t.revision AS revision,
    t.result AS trajectory_result
FROM outcomes AS o
ASOF LEFT JOIN trajectories AS t ON o.trajectory_id = t.trajectory_id AND o.recorded_at >= t.opened_at;
