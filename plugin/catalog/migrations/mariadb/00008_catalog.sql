-- +goose Up
-- The schema of SQLite's step 8, for MariaDB; later steps have the same numbers everywhere. MariaDB ends a transaction
-- at each CREATE, so every statement can be repeated after a kill.
-- Times are microseconds since 1970 UTC, 0 for none; texts are '' for none. Texts are compared by their code points,
-- trailing spaces included. An index takes 3072 bytes and a character counts four: where texts are longer, their
-- hashes are unique, and lookups go by their beginnings.
CREATE TABLE IF NOT EXISTS entries (
    id                VARCHAR(255) NOT NULL PRIMARY KEY,
    store             VARCHAR(255) NOT NULL,
    content_key       TEXT         NOT NULL,
    domain            VARCHAR(255) NOT NULL,
    live_key          TEXT,
    live_hash         BINARY(32)   AS (UNHEX(SHA2(live_key, 256))) PERSISTENT,
    state             VARCHAR(16)  NOT NULL CHECK (state IN ('filling', 'ready', 'evicting', 'detached', 'failed')),
    attempt           BIGINT       NOT NULL,
    image_volume      TEXT         NOT NULL,
    form              VARCHAR(255) NOT NULL,
    digest            VARCHAR(255) NOT NULL,
    disk_format       VARCHAR(255) NOT NULL,
    source_bytes      BIGINT       NOT NULL,
    virtual_bytes     BIGINT       NOT NULL,
    reserved_bytes    BIGINT       NOT NULL,
    held_bytes        BIGINT       NOT NULL,
    claim             VARCHAR(255) NOT NULL,
    pinned            INTEGER      NOT NULL,
    hits              BIGINT       NOT NULL,
    clones            BIGINT       NOT NULL,
    inspector_version BIGINT       NOT NULL,
    evict_cause       VARCHAR(64)  NOT NULL,
    created_at        BIGINT       NOT NULL,
    filled_at         BIGINT       NOT NULL,
    last_used_at      BIGINT       NOT NULL,
    lease_host        VARCHAR(255) NOT NULL,
    lease_incarnation VARCHAR(255) NOT NULL,
    lease_until       BIGINT       NOT NULL,
    last_error        MEDIUMTEXT   NOT NULL,
    retry_after       BIGINT       NOT NULL,
    content_sum       VARCHAR(255) NOT NULL DEFAULT '',
    superseded_by     VARCHAR(255) NOT NULL DEFAULT '',
    superseded_at     BIGINT       NOT NULL DEFAULT 0,
    generation        BIGINT       NOT NULL DEFAULT 0,
    failed_at         BIGINT       NOT NULL DEFAULT 0,
    failure           MEDIUMTEXT   NOT NULL DEFAULT '',
    used_at           BIGINT       AS (CASE WHEN last_used_at < created_at THEN created_at ELSE last_used_at END) PERSISTENT,
    in_use            INTEGER      AS (CASE WHEN clones > 0 THEN 1 ELSE 0 END) PERSISTENT,
    superseded        INTEGER      AS (CASE WHEN superseded_at > 0 THEN 1 ELSE 0 END) PERSISTENT,
    id_end            VARCHAR(4)   AS (RIGHT(id, 4)) PERSISTENT,
    CHECK ((live_key IS NULL) = (state IN ('evicting', 'detached'))),
    UNIQUE KEY entries_live (live_hash),
    KEY entries_by_live_key (live_key(255)),
    KEY entries_by_store (store, id),
    KEY entries_by_state (state, id),
    KEY entries_by_end (id_end),
    KEY entries_by_content (content_key(191), store),
    KEY entries_by_use (store, state, pinned, in_use, superseded, used_at, created_at, id),
    KEY entries_by_hits_and_use (store, state, pinned, in_use, superseded, hits, used_at, created_at, id),
    KEY entries_idle_by_use (store, state, pinned, in_use, used_at, created_at, id),
    KEY entries_by_creation (store, state, pinned, in_use, created_at, reserved_bytes, held_bytes)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS entry_images (
    n             BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    entry_id      VARCHAR(255) NOT NULL,
    image_id      TEXT         NOT NULL,
    revision_key  TEXT         NOT NULL,
    added_at      BIGINT       NOT NULL,
    current_at    BIGINT       NOT NULL DEFAULT 0,
    superseded_by VARCHAR(255) NOT NULL DEFAULT '',
    row_hash      BINARY(32)   AS (UNHEX(SHA2(CONCAT(SHA2(image_id, 256), SHA2(revision_key, 256)), 256))) PERSISTENT,
    UNIQUE KEY entry_images_once (entry_id, row_hash),
    KEY entry_images_by_image (image_id(191)),
    KEY entry_images_by_revision (revision_key(255)),
    CONSTRAINT entry_images_of_entry FOREIGN KEY (entry_id) REFERENCES entries (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

-- Who decides something alone writes its row: one a store, one a project. A Galera node that has not seen the other's
-- write finds out at COMMIT.
CREATE TABLE IF NOT EXISTS locks (
    name    VARCHAR(300) NOT NULL PRIMARY KEY,
    version BIGINT       NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

-- The last transaction of each process and slot, by which one whose answer was lost is found to have happened or not.
CREATE TABLE IF NOT EXISTS settled (
    process VARCHAR(64) NOT NULL,
    slot    INTEGER     NOT NULL,
    number  BIGINT      NOT NULL,
    asked   BIGINT      NOT NULL,
    at      BIGINT      NOT NULL,
    PRIMARY KEY (process, slot)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS applied (
    host VARCHAR(255) NOT NULL PRIMARY KEY,
    seq  BIGINT       NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS request_stats (
    n                BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    minute           BIGINT       NOT NULL,
    backend          VARCHAR(255) NOT NULL,
    image_id         TEXT         NOT NULL,
    outcome          VARCHAR(64)  NOT NULL,
    reason           VARCHAR(64)  NOT NULL,
    requests         BIGINT       NOT NULL,
    downloads        BIGINT       NOT NULL,
    downloaded_bytes BIGINT       NOT NULL,
    saved_bytes      BIGINT       NOT NULL,
    took             BIGINT       NOT NULL,
    image_hash       BINARY(32)   AS (UNHEX(SHA2(image_id, 256))) PERSISTENT,
    UNIQUE KEY request_stats_once (minute, backend, image_hash, outcome, reason),
    KEY request_stats_by_backend (backend)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS eviction_stats (
    minute    BIGINT       NOT NULL,
    store     VARCHAR(255) NOT NULL,
    cause     VARCHAR(64)  NOT NULL,
    evictions BIGINT       NOT NULL,
    bytes     BIGINT       NOT NULL,
    PRIMARY KEY (minute, store, cause)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS fill_stats (
    n             BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    minute        BIGINT       NOT NULL,
    store         VARCHAR(255) NOT NULL,
    image_id      TEXT         NOT NULL,
    fills         BIGINT       NOT NULL,
    failed        BIGINT       NOT NULL,
    took          BIGINT       NOT NULL,
    longest       BIGINT       NOT NULL,
    source_bytes  BIGINT       NOT NULL,
    written_bytes BIGINT       NOT NULL,
    image_hash    BINARY(32)   AS (UNHEX(SHA2(image_id, 256))) PERSISTENT,
    UNIQUE KEY fill_stats_once (minute, store, image_hash)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS claims (
    id         VARCHAR(255) NOT NULL PRIMARY KEY,
    project_id VARCHAR(255) NOT NULL,
    entry_id   VARCHAR(255) NOT NULL,
    attempt    BIGINT       NOT NULL,
    backend    VARCHAR(255) NOT NULL,
    image_id   TEXT         NOT NULL,
    gigabytes  BIGINT       NOT NULL,
    in_use     INTEGER      NOT NULL,
    created_at BIGINT       NOT NULL,
    UNIQUE KEY claims_once (entry_id, attempt),
    KEY claims_by_project (project_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

-- The entries and claims added up by the triggers below. Each daemon adds to rows of its own (shard): no row is
-- written by all of them, and what counts is the sum over the shards.
CREATE TABLE IF NOT EXISTS entry_totals (
    store         VARCHAR(255) NOT NULL,
    state         VARCHAR(16)  NOT NULL,
    pinned        INTEGER      NOT NULL,
    in_use        INTEGER      NOT NULL,
    shard         VARCHAR(64)  NOT NULL DEFAULT '',
    entries       BIGINT       NOT NULL,
    counted_bytes BIGINT       NOT NULL,
    held_bytes    BIGINT       NOT NULL,
    PRIMARY KEY (store, state, pinned, in_use, shard)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS claim_totals (
    project_id VARCHAR(255) NOT NULL,
    shard      VARCHAR(64)  NOT NULL DEFAULT '',
    claims     BIGINT       NOT NULL,
    gigabytes  BIGINT       NOT NULL,
    PRIMARY KEY (project_id, shard)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

-- +goose StatementBegin
CREATE OR REPLACE TRIGGER entry_counts AFTER INSERT ON entries FOR EACH ROW
    INSERT INTO entry_totals (store, state, pinned, in_use, shard, entries, counted_bytes, held_bytes)
        VALUES (NEW.store, NEW.state, NEW.pinned, NEW.clones > 0, COALESCE(@clonecache_shard, ''), 1, GREATEST(NEW.reserved_bytes, NEW.held_bytes), NEW.held_bytes)
        ON DUPLICATE KEY UPDATE entries = entries + 1, counted_bytes = counted_bytes + VALUES(counted_bytes), held_bytes = held_bytes + VALUES(held_bytes);
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE TRIGGER entry_counts_no_more AFTER DELETE ON entries FOR EACH ROW
    INSERT INTO entry_totals (store, state, pinned, in_use, shard, entries, counted_bytes, held_bytes)
        VALUES (OLD.store, OLD.state, OLD.pinned, OLD.clones > 0, COALESCE(@clonecache_shard, ''), -1, -GREATEST(OLD.reserved_bytes, OLD.held_bytes), -OLD.held_bytes)
        ON DUPLICATE KEY UPDATE entries = entries - 1, counted_bytes = counted_bytes + VALUES(counted_bytes), held_bytes = held_bytes + VALUES(held_bytes);
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE TRIGGER entry_counts_anew AFTER UPDATE ON entries FOR EACH ROW
BEGIN
    IF OLD.store <> NEW.store OR OLD.state <> NEW.state OR OLD.pinned <> NEW.pinned OR (OLD.clones > 0) <> (NEW.clones > 0)
        OR OLD.reserved_bytes <> NEW.reserved_bytes OR OLD.held_bytes <> NEW.held_bytes THEN
        INSERT INTO entry_totals (store, state, pinned, in_use, shard, entries, counted_bytes, held_bytes)
            VALUES (OLD.store, OLD.state, OLD.pinned, OLD.clones > 0, COALESCE(@clonecache_shard, ''), -1, -GREATEST(OLD.reserved_bytes, OLD.held_bytes), -OLD.held_bytes),
                (NEW.store, NEW.state, NEW.pinned, NEW.clones > 0, COALESCE(@clonecache_shard, ''), 1, GREATEST(NEW.reserved_bytes, NEW.held_bytes), NEW.held_bytes)
            ON DUPLICATE KEY UPDATE entries = entries + VALUES(entries), counted_bytes = counted_bytes + VALUES(counted_bytes), held_bytes = held_bytes + VALUES(held_bytes);
    END IF;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE TRIGGER claim_counts AFTER INSERT ON claims FOR EACH ROW
    INSERT INTO claim_totals (project_id, shard, claims, gigabytes) VALUES (NEW.project_id, COALESCE(@clonecache_shard, ''), 1, NEW.gigabytes)
        ON DUPLICATE KEY UPDATE claims = claims + 1, gigabytes = gigabytes + VALUES(gigabytes);
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE TRIGGER claim_counts_no_more AFTER DELETE ON claims FOR EACH ROW
    INSERT INTO claim_totals (project_id, shard, claims, gigabytes) VALUES (OLD.project_id, COALESCE(@clonecache_shard, ''), -1, -OLD.gigabytes)
        ON DUPLICATE KEY UPDATE claims = claims - 1, gigabytes = gigabytes + VALUES(gigabytes);
-- +goose StatementEnd

CREATE TABLE IF NOT EXISTS events (
    id       BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at       BIGINT       NOT NULL,
    routine  INTEGER      NOT NULL,
    kind     VARCHAR(64)  NOT NULL,
    backend  VARCHAR(255) NOT NULL,
    image_id TEXT         NOT NULL,
    entry_id VARCHAR(255) NOT NULL,
    volume   TEXT         NOT NULL,
    outcome  VARCHAR(64)  NOT NULL,
    reason   VARCHAR(64)  NOT NULL,
    detail   MEDIUMTEXT   NOT NULL,
    bytes    BIGINT       NOT NULL,
    took     BIGINT       NOT NULL,
    KEY events_by_class (routine, id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS identity (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    id   TEXT        NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS departed (
    n          BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    store      VARCHAR(255) NOT NULL,
    domain     VARCHAR(255) NOT NULL,
    image_id   TEXT         NOT NULL,
    cause      VARCHAR(64)  NOT NULL,
    at         BIGINT       NOT NULL,
    image_hash BINARY(32)   AS (UNHEX(SHA2(image_id, 256))) PERSISTENT,
    UNIQUE KEY departed_once (store, domain, image_hash),
    KEY departed_by_image (image_id(191)),
    KEY departed_by_time (at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS stores (
    id       VARCHAR(255) NOT NULL PRIMARY KEY,
    name     VARCHAR(255) NOT NULL,
    kind     VARCHAR(64)  NOT NULL,
    location TEXT         NOT NULL,
    bound_at BIGINT       NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS store_names (
    store VARCHAR(255) NOT NULL,
    name  VARCHAR(255) NOT NULL,
    PRIMARY KEY (store, name),
    CONSTRAINT store_names_of_store FOREIGN KEY (store) REFERENCES stores (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
