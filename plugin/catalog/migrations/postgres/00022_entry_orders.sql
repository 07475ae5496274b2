-- +goose Up
-- The orders that lists of entries come in: see SQLite's step.
ALTER TABLE entries ADD COLUMN counted_bytes BIGINT NOT NULL GENERATED ALWAYS AS
    (CASE WHEN reserved_bytes > held_bytes THEN reserved_bytes ELSE held_bytes END) STORED;
CREATE INDEX entries_listed_by_held ON entries (counted_bytes, id, state, store);
CREATE INDEX entries_listed_by_hits ON entries (hits, id, state, store);
CREATE INDEX entries_listed_by_used ON entries (last_used_at, id, state, store);
CREATE INDEX entries_listed_by_clones ON entries (clones, id, state, store);
CREATE INDEX entries_listed_by_age ON entries (id, state, store);
