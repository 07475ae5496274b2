-- +goose Up
-- When an image-volume was last read back whole and found to be what was written; and, of one that was not, since when and
-- why nothing is made from it: its live_key is then one that nobody looks for.
ALTER TABLE entries ADD COLUMN IF NOT EXISTS verified_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN IF NOT EXISTS quarantined_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN IF NOT EXISTS quarantine MEDIUMTEXT NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS entries_quarantined ON entries (quarantined_at);
CREATE INDEX IF NOT EXISTS entries_by_reading_back ON entries (store, state, verified_at, filled_at, quarantined_at);
