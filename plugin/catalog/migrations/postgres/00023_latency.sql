-- +goose Up
-- How many requests took a time of each bucket, by store and outcome, beside the report's other sums; host is the daemon's
-- instance, and minute the first one of ten. Bucket 0 is up to 64 µs, and each further one ends at √2 times the end of the one before.
CREATE TABLE latency_stats (
    minute BIGINT NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    store TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    bucket INTEGER NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (minute, host, store, outcome, bucket)
);
CREATE INDEX latency_stats_by_store ON latency_stats (store);
