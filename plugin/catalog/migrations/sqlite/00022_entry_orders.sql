-- +goose Up
-- The orders that lists of entries come in, the greatest first. Each index has all that a list is selected by, so that one that
-- selects little reads no rows but those that it shows.
ALTER TABLE entries ADD COLUMN counted_bytes BIGINT NOT NULL GENERATED ALWAYS AS
    (CASE WHEN reserved_bytes > held_bytes THEN reserved_bytes ELSE held_bytes END) VIRTUAL;
CREATE INDEX entries_listed_by_held ON entries (counted_bytes, id, state, store);
CREATE INDEX entries_listed_by_hits ON entries (hits, id, state, store);
CREATE INDEX entries_listed_by_used ON entries (last_used_at, id, state, store);
CREATE INDEX entries_listed_by_clones ON entries (clones, id, state, store);
CREATE INDEX entries_listed_by_age ON entries (id, state, store);
