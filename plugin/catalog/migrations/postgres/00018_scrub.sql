-- +goose Up
-- When an image-volume was last read back whole and found to be what was written; and, of one that was not, since when and
-- why nothing is made from it: its live_key is then one that nobody looks for.
ALTER TABLE entries ADD COLUMN verified_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN quarantined_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN quarantine TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX entries_quarantined ON entries (quarantined_at) WHERE quarantined_at > 0;
CREATE INDEX entries_by_reading_back ON entries (store, verified_at, filled_at, quarantined_at) WHERE state = 'ready';
