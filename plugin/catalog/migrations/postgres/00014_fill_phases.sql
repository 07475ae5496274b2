-- +goose Up
-- Where the time of fills went: see SQLite's step.
ALTER TABLE fill_stats ADD COLUMN phase_waiting BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fill_stats ADD COLUMN phase_quota BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fill_stats ADD COLUMN phase_source BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fill_stats ADD COLUMN phase_decode BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fill_stats ADD COLUMN phase_write BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fill_stats ADD COLUMN phase_commit BIGINT NOT NULL DEFAULT 0;
