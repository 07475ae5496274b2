-- +goose Up
-- Whether a pin is a rule's, by which images are followed, and nobody else's. 0: a person's, or there is none; pins that were
-- set before this are taken for a person's.
ALTER TABLE entries ADD COLUMN IF NOT EXISTS pinned_by_rule INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fill_queue ADD COLUMN IF NOT EXISTS pin_by_rule INTEGER NOT NULL DEFAULT 0;
