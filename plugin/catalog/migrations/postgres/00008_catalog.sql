-- +goose Up
-- The schema of SQLite's step 8, for PostgreSQL; later steps have the same numbers everywhere.
-- Times are microseconds since 1970 UTC, 0 for none; texts are '' for none, and are compared byte by byte. A B-tree takes
-- a third of a page (2704 bytes): where texts are longer, their hashes are unique, or a hash index finds them.
CREATE TABLE entries (
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    store             TEXT COLLATE "C" NOT NULL,
    content_key       TEXT COLLATE "C" NOT NULL,
    domain            TEXT COLLATE "C" NOT NULL,
    live_key          TEXT COLLATE "C",
    state             TEXT COLLATE "C" NOT NULL CHECK (state IN ('filling', 'ready', 'evicting', 'detached', 'failed')),
    attempt           BIGINT NOT NULL,
    image_volume      TEXT COLLATE "C" NOT NULL,
    form              TEXT COLLATE "C" NOT NULL,
    digest            TEXT COLLATE "C" NOT NULL,
    disk_format       TEXT COLLATE "C" NOT NULL,
    source_bytes      BIGINT NOT NULL,
    virtual_bytes     BIGINT NOT NULL,
    reserved_bytes    BIGINT NOT NULL,
    held_bytes        BIGINT NOT NULL,
    claim             TEXT COLLATE "C" NOT NULL,
    pinned            INTEGER NOT NULL,
    hits              BIGINT NOT NULL,
    clones            BIGINT NOT NULL,
    inspector_version BIGINT NOT NULL,
    evict_cause       TEXT COLLATE "C" NOT NULL,
    created_at        BIGINT NOT NULL,
    filled_at         BIGINT NOT NULL,
    last_used_at      BIGINT NOT NULL,
    lease_host        TEXT COLLATE "C" NOT NULL,
    lease_incarnation TEXT COLLATE "C" NOT NULL,
    lease_until       BIGINT NOT NULL,
    last_error        TEXT COLLATE "C" NOT NULL,
    retry_after       BIGINT NOT NULL,
    content_sum       TEXT COLLATE "C" NOT NULL DEFAULT '',
    superseded_by     TEXT COLLATE "C" NOT NULL DEFAULT '',
    superseded_at     BIGINT NOT NULL DEFAULT 0,
    generation        BIGINT NOT NULL DEFAULT 0,
    failed_at         BIGINT NOT NULL DEFAULT 0,
    failure           TEXT COLLATE "C" NOT NULL DEFAULT '',
    used_at           BIGINT NOT NULL GENERATED ALWAYS AS (CASE WHEN last_used_at < created_at THEN created_at ELSE last_used_at END) STORED,
    in_use            INTEGER NOT NULL GENERATED ALWAYS AS (CASE WHEN clones > 0 THEN 1 ELSE 0 END) STORED,
    id_end            TEXT COLLATE "C" NOT NULL GENERATED ALWAYS AS (right(id, 4)) STORED,
    CHECK ((live_key IS NULL) = (state IN ('evicting', 'detached'))),
    CONSTRAINT entries_live EXCLUDE USING hash (live_key WITH =)
);
CREATE INDEX entries_by_store ON entries (store, id);
CREATE INDEX entries_by_store_state ON entries (store, state);
CREATE INDEX entries_by_state ON entries (state, id);
CREATE INDEX entries_by_end ON entries (id_end);
CREATE INDEX entries_by_content ON entries USING hash (content_key);
CREATE INDEX entries_by_use ON entries (store, in_use, used_at, created_at, id)
    WHERE state = 'ready' AND pinned = 0;
CREATE INDEX entries_of_few_hits_by_use ON entries (store, in_use, hits, used_at, created_at, id)
    WHERE state = 'ready' AND pinned = 0 AND hits < 8;
CREATE INDEX entries_superseded_by_use ON entries (store, in_use, used_at, created_at, id)
    WHERE state = 'ready' AND pinned = 0 AND superseded_at > 0;
CREATE INDEX entries_by_creation ON entries (store, in_use, created_at, reserved_bytes, held_bytes)
    WHERE state = 'ready' AND pinned = 0;

CREATE TABLE entry_images (
    n             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id      TEXT COLLATE "C" NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    image_id      TEXT COLLATE "C" NOT NULL,
    revision_key  TEXT COLLATE "C" NOT NULL,
    added_at      BIGINT NOT NULL,
    current_at    BIGINT NOT NULL DEFAULT 0,
    superseded_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX entry_images_once ON entry_images (entry_id, md5(image_id), md5(revision_key));
CREATE INDEX entry_images_by_image ON entry_images USING hash (image_id);
CREATE INDEX entry_images_by_revision ON entry_images USING hash (revision_key);

-- Who decides something alone writes its row: one a store, one a project.
CREATE TABLE locks (
    name    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);

-- The last transaction of each process and slot, by which one whose answer was lost is found to have happened or not.
CREATE TABLE settled (
    process TEXT COLLATE "C" NOT NULL,
    slot    INTEGER NOT NULL,
    number  BIGINT NOT NULL,
    asked   BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (process, slot)
);

CREATE TABLE applied (
    host TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seq  BIGINT NOT NULL
);

CREATE TABLE request_stats (
    n                BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    minute           BIGINT NOT NULL,
    backend          TEXT COLLATE "C" NOT NULL,
    image_id         TEXT COLLATE "C" NOT NULL,
    outcome          TEXT COLLATE "C" NOT NULL,
    reason           TEXT COLLATE "C" NOT NULL,
    requests         BIGINT NOT NULL,
    downloads        BIGINT NOT NULL,
    downloaded_bytes BIGINT NOT NULL,
    saved_bytes      BIGINT NOT NULL,
    took             BIGINT NOT NULL
);
CREATE UNIQUE INDEX request_stats_once ON request_stats (minute, backend, md5(image_id), outcome, reason);
CREATE INDEX request_stats_by_backend ON request_stats (backend);

CREATE TABLE eviction_stats (
    minute    BIGINT NOT NULL,
    store     TEXT COLLATE "C" NOT NULL,
    cause     TEXT COLLATE "C" NOT NULL,
    evictions BIGINT NOT NULL,
    bytes     BIGINT NOT NULL,
    PRIMARY KEY (minute, store, cause)
);

CREATE TABLE fill_stats (
    n             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    minute        BIGINT NOT NULL,
    store         TEXT COLLATE "C" NOT NULL,
    image_id      TEXT COLLATE "C" NOT NULL,
    fills         BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    took          BIGINT NOT NULL,
    longest       BIGINT NOT NULL,
    source_bytes  BIGINT NOT NULL,
    written_bytes BIGINT NOT NULL
);
CREATE UNIQUE INDEX fill_stats_once ON fill_stats (minute, store, md5(image_id));

CREATE TABLE claims (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    entry_id   TEXT COLLATE "C" NOT NULL,
    attempt    BIGINT NOT NULL,
    backend    TEXT COLLATE "C" NOT NULL,
    image_id   TEXT COLLATE "C" NOT NULL,
    gigabytes  BIGINT NOT NULL,
    in_use     INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (entry_id, attempt)
);
CREATE INDEX claims_by_project ON claims (project_id);

-- The entries and claims added up by the triggers below. Each daemon adds to rows of its own (shard): no row is
-- written by all of them, and what counts is the sum over the shards.
CREATE TABLE entry_totals (
    store         TEXT COLLATE "C" NOT NULL,
    state         TEXT COLLATE "C" NOT NULL,
    pinned        INTEGER NOT NULL,
    in_use        INTEGER NOT NULL,
    shard         TEXT COLLATE "C" NOT NULL DEFAULT '',
    entries       BIGINT NOT NULL,
    counted_bytes BIGINT NOT NULL,
    held_bytes    BIGINT NOT NULL,
    PRIMARY KEY (store, state, pinned, in_use, shard)
);

CREATE TABLE claim_totals (
    project_id TEXT COLLATE "C" NOT NULL,
    shard      TEXT COLLATE "C" NOT NULL DEFAULT '',
    claims     BIGINT NOT NULL,
    gigabytes  BIGINT NOT NULL,
    PRIMARY KEY (project_id, shard)
);

-- +goose StatementBegin
CREATE FUNCTION clonecache_count_entry(e entries, times BIGINT) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO entry_totals AS t (store, state, pinned, in_use, shard, entries, counted_bytes, held_bytes)
        VALUES (e.store, e.state, e.pinned, CASE WHEN e.clones > 0 THEN 1 ELSE 0 END, COALESCE(current_setting('clonecache.shard', true), ''),
            times, times * GREATEST(e.reserved_bytes, e.held_bytes), times * e.held_bytes)
        ON CONFLICT (store, state, pinned, in_use, shard) DO UPDATE SET entries = t.entries + excluded.entries,
            counted_bytes = t.counted_bytes + excluded.counted_bytes, held_bytes = t.held_bytes + excluded.held_bytes
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION clonecache_count_entries() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM clonecache_count_entry(OLD, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM clonecache_count_entry(NEW, 1);
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER entry_counts AFTER INSERT OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION clonecache_count_entries();
CREATE TRIGGER entry_counts_anew AFTER UPDATE ON entries FOR EACH ROW
    WHEN (OLD.store <> NEW.store OR OLD.state <> NEW.state OR OLD.pinned <> NEW.pinned OR (OLD.clones > 0) <> (NEW.clones > 0)
        OR OLD.reserved_bytes <> NEW.reserved_bytes OR OLD.held_bytes <> NEW.held_bytes)
    EXECUTE FUNCTION clonecache_count_entries();

-- +goose StatementBegin
CREATE FUNCTION clonecache_count_claims() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    claim claims;
    times BIGINT;
BEGIN
    IF TG_OP = 'INSERT' THEN
        claim := NEW;
        times := 1;
    ELSE
        claim := OLD;
        times := -1;
    END IF;
    INSERT INTO claim_totals AS t (project_id, shard, claims, gigabytes)
        VALUES (claim.project_id, COALESCE(current_setting('clonecache.shard', true), ''), times, times * claim.gigabytes)
        ON CONFLICT (project_id, shard) DO UPDATE SET claims = t.claims + excluded.claims, gigabytes = t.gigabytes + excluded.gigabytes;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER claim_counts AFTER INSERT OR DELETE ON claims FOR EACH ROW EXECUTE FUNCTION clonecache_count_claims();

CREATE TABLE events (
    id       BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at       BIGINT NOT NULL,
    routine  INTEGER NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL,
    backend  TEXT COLLATE "C" NOT NULL,
    image_id TEXT COLLATE "C" NOT NULL,
    entry_id TEXT COLLATE "C" NOT NULL,
    volume   TEXT COLLATE "C" NOT NULL,
    outcome  TEXT COLLATE "C" NOT NULL,
    reason   TEXT COLLATE "C" NOT NULL,
    detail   TEXT COLLATE "C" NOT NULL,
    bytes    BIGINT NOT NULL,
    took     BIGINT NOT NULL
);
CREATE INDEX events_by_class ON events (routine, id);

CREATE TABLE identity (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    id   TEXT COLLATE "C" NOT NULL
);

CREATE TABLE departed (
    n        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store    TEXT COLLATE "C" NOT NULL,
    domain   TEXT COLLATE "C" NOT NULL,
    image_id TEXT COLLATE "C" NOT NULL,
    cause    TEXT COLLATE "C" NOT NULL,
    at       BIGINT NOT NULL
);
CREATE UNIQUE INDEX departed_once ON departed (store, domain, md5(image_id));
CREATE INDEX departed_by_image ON departed USING hash (image_id);
CREATE INDEX departed_by_time ON departed (at);

CREATE TABLE stores (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name     TEXT COLLATE "C" NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL,
    location TEXT COLLATE "C" NOT NULL,
    bound_at BIGINT NOT NULL
);

CREATE TABLE store_names (
    store TEXT COLLATE "C" NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
    name  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (store, name)
);
