-- +goose Up
-- What a decision about room goes by, so that it can be found in order: when an entry was last used, at
-- the earliest when it was made; whether it has live clones; and how its ID ends.
ALTER TABLE entries ADD COLUMN used_at BIGINT NOT NULL GENERATED ALWAYS AS
    (CASE WHEN last_used_at < created_at THEN created_at ELSE last_used_at END) VIRTUAL;
ALTER TABLE entries ADD COLUMN in_use INTEGER NOT NULL GENERATED ALWAYS AS (CASE WHEN clones > 0 THEN 1 ELSE 0 END) VIRTUAL;
ALTER TABLE entries ADD COLUMN id_end TEXT NOT NULL GENERATED ALWAYS AS (substr(id, -4)) VIRTUAL;

CREATE INDEX entries_by_end ON entries (id_end);
CREATE INDEX entries_by_use ON entries (store, in_use, used_at, created_at, id)
    WHERE state = 'ready' AND pinned = 0;
CREATE INDEX entries_of_few_hits_by_use ON entries (store, in_use, hits, used_at, created_at, id)
    WHERE state = 'ready' AND pinned = 0 AND hits < 8;
CREATE INDEX entries_by_creation ON entries (store, in_use, created_at, reserved_bytes, held_bytes)
    WHERE state = 'ready' AND pinned = 0;

-- The entries added up. The triggers below keep these sums in the transaction of each change;
-- counted_bytes are the larger one of reserved_bytes and held_bytes, added up.
CREATE TABLE entry_totals (
    store         TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    pinned        INTEGER NOT NULL,
    in_use        INTEGER NOT NULL,
    entries       BIGINT  NOT NULL,
    counted_bytes BIGINT  NOT NULL,
    held_bytes    BIGINT  NOT NULL,
    PRIMARY KEY (store, state, pinned, in_use)
) WITHOUT ROWID;

INSERT INTO entry_totals (store, state, pinned, in_use, entries, counted_bytes, held_bytes)
    SELECT store, state, pinned, in_use, COUNT(*), SUM(max(reserved_bytes, held_bytes)), SUM(held_bytes)
    FROM entries GROUP BY store, state, pinned, in_use;

-- +goose StatementBegin
CREATE TRIGGER entry_counts AFTER INSERT ON entries BEGIN
    INSERT INTO entry_totals (store, state, pinned, in_use, entries, counted_bytes, held_bytes)
        VALUES (new.store, new.state, new.pinned, new.in_use, 1, max(new.reserved_bytes, new.held_bytes), new.held_bytes)
        ON CONFLICT (store, state, pinned, in_use) DO UPDATE SET entries = entries + 1,
            counted_bytes = counted_bytes + excluded.counted_bytes, held_bytes = held_bytes + excluded.held_bytes;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER entry_counts_no_more AFTER DELETE ON entries BEGIN
    UPDATE entry_totals SET entries = entries - 1,
        counted_bytes = counted_bytes - max(old.reserved_bytes, old.held_bytes), held_bytes = held_bytes - old.held_bytes
        WHERE store = old.store AND state = old.state AND pinned = old.pinned AND in_use = old.in_use;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER entry_counts_anew AFTER UPDATE OF store, state, pinned, clones, reserved_bytes, held_bytes ON entries
    WHEN old.store <> new.store OR old.state <> new.state OR old.pinned <> new.pinned OR old.in_use <> new.in_use
        OR old.reserved_bytes <> new.reserved_bytes OR old.held_bytes <> new.held_bytes
BEGIN
    UPDATE entry_totals SET entries = entries - 1,
        counted_bytes = counted_bytes - max(old.reserved_bytes, old.held_bytes), held_bytes = held_bytes - old.held_bytes
        WHERE store = old.store AND state = old.state AND pinned = old.pinned AND in_use = old.in_use;
    INSERT INTO entry_totals (store, state, pinned, in_use, entries, counted_bytes, held_bytes)
        VALUES (new.store, new.state, new.pinned, new.in_use, 1, max(new.reserved_bytes, new.held_bytes), new.held_bytes)
        ON CONFLICT (store, state, pinned, in_use) DO UPDATE SET entries = entries + 1,
            counted_bytes = counted_bytes + excluded.counted_bytes, held_bytes = held_bytes + excluded.held_bytes;
END;
-- +goose StatementEnd

-- The local internal tenant's claims added up, in the same way.
CREATE TABLE claim_totals (
    project_id TEXT   NOT NULL PRIMARY KEY,
    claims     BIGINT NOT NULL,
    gigabytes  BIGINT NOT NULL
) WITHOUT ROWID;

INSERT INTO claim_totals (project_id, claims, gigabytes)
    SELECT project_id, COUNT(*), SUM(gigabytes) FROM claims GROUP BY project_id;

-- +goose StatementBegin
CREATE TRIGGER claim_counts AFTER INSERT ON claims BEGIN
    INSERT INTO claim_totals (project_id, claims, gigabytes) VALUES (new.project_id, 1, new.gigabytes)
        ON CONFLICT (project_id) DO UPDATE SET claims = claims + 1, gigabytes = gigabytes + excluded.gigabytes;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER claim_counts_no_more AFTER DELETE ON claims BEGIN
    UPDATE claim_totals SET claims = claims - 1, gigabytes = gigabytes - old.gigabytes WHERE project_id = old.project_id;
END;
-- +goose StatementEnd
