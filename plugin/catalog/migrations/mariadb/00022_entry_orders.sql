-- +goose Up
-- The orders that lists of entries come in: see SQLite's step. By age, the table itself has it.
ALTER TABLE entries ADD COLUMN IF NOT EXISTS counted_bytes BIGINT AS (CASE WHEN reserved_bytes > held_bytes THEN reserved_bytes ELSE held_bytes END) VIRTUAL;
CREATE INDEX IF NOT EXISTS entries_listed_by_held ON entries (counted_bytes, id, state, store);
CREATE INDEX IF NOT EXISTS entries_listed_by_hits ON entries (hits, id, state, store);
CREATE INDEX IF NOT EXISTS entries_listed_by_used ON entries (last_used_at, id, state, store);
CREATE INDEX IF NOT EXISTS entries_listed_by_clones ON entries (clones, id, state, store);
CREATE INDEX IF NOT EXISTS entries_listed_by_age ON entries (id, state, store);
