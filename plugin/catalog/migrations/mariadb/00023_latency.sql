-- +goose Up
-- How many requests took a time of each bucket, by store and outcome, beside the report's other sums; host is the daemon's
-- instance, and minute the first one of ten. Bucket 0 is up to 64 µs, and each further one ends at √2 times the end of the one before.
CREATE TABLE IF NOT EXISTS latency_stats (
    minute BIGINT NOT NULL,
    host VARCHAR(255) NOT NULL,
    store VARCHAR(255) NOT NULL,
    outcome VARCHAR(64) NOT NULL,
    bucket INTEGER NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (minute, host, store, outcome, bucket),
    KEY latency_stats_by_store (store)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
