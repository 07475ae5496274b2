-- +goose Up
-- Times are microseconds since 1970 UTC, 0 for none; texts are '' for none. live_key is store, domain
-- and key while the entry can be found by them, else NULL, so that only one live entry has them.
CREATE TABLE entries (
    id                TEXT    NOT NULL PRIMARY KEY,
    store             TEXT    NOT NULL,
    content_key       TEXT    NOT NULL,
    domain            TEXT    NOT NULL,
    live_key          TEXT    UNIQUE,
    state             TEXT    NOT NULL CHECK (state IN ('filling', 'ready', 'evicting', 'detached', 'failed')),
    attempt           BIGINT  NOT NULL,
    image_volume      TEXT    NOT NULL,
    form              TEXT    NOT NULL,
    digest            TEXT    NOT NULL,
    disk_format       TEXT    NOT NULL,
    source_bytes      BIGINT  NOT NULL,
    virtual_bytes     BIGINT  NOT NULL,
    reserved_bytes    BIGINT  NOT NULL,
    held_bytes        BIGINT  NOT NULL,
    claim             TEXT    NOT NULL,
    pinned            INTEGER NOT NULL,
    hits              BIGINT  NOT NULL,
    clones            BIGINT  NOT NULL,
    inspector_version BIGINT  NOT NULL,
    evict_cause       TEXT    NOT NULL,
    created_at        BIGINT  NOT NULL,
    filled_at         BIGINT  NOT NULL,
    last_used_at      BIGINT  NOT NULL,
    lease_host        TEXT    NOT NULL,
    lease_incarnation TEXT    NOT NULL,
    lease_until       BIGINT  NOT NULL,
    last_error        TEXT    NOT NULL,
    retry_after       BIGINT  NOT NULL,
    CHECK ((live_key IS NULL) = (state IN ('evicting', 'detached')))
);
CREATE INDEX entries_by_store ON entries (store, id);
CREATE INDEX entries_by_store_state ON entries (store, state);
CREATE INDEX entries_by_state ON entries (state, id);

-- What images an entry is known as. revision_key is '' where the image came with a digest.
CREATE TABLE entry_images (
    entry_id     TEXT   NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    image_id     TEXT   NOT NULL,
    revision_key TEXT   NOT NULL,
    added_at     BIGINT NOT NULL,
    PRIMARY KEY (entry_id, image_id, revision_key)
) WITHOUT ROWID;
CREATE INDEX entry_images_by_image ON entry_images (image_id);
CREATE INDEX entry_images_by_revision ON entry_images (revision_key);

-- Rows that exist to be locked: one a store, one a project.
CREATE TABLE locks (
    name TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;

-- How far each host's journal has been applied.
CREATE TABLE applied (
    host TEXT   NOT NULL PRIMARY KEY,
    seq  BIGINT NOT NULL
) WITHOUT ROWID;

-- The report's sums, one row a minute (minutes since 1970 UTC) and subject. Durations are microseconds.
CREATE TABLE request_stats (
    minute           BIGINT NOT NULL,
    backend          TEXT   NOT NULL,
    image_id         TEXT   NOT NULL,
    outcome          TEXT   NOT NULL,
    reason           TEXT   NOT NULL,
    requests         BIGINT NOT NULL,
    downloads        BIGINT NOT NULL,
    downloaded_bytes BIGINT NOT NULL,
    saved_bytes      BIGINT NOT NULL,
    took             BIGINT NOT NULL,
    PRIMARY KEY (minute, backend, image_id, outcome, reason)
) WITHOUT ROWID;

CREATE TABLE eviction_stats (
    minute    BIGINT NOT NULL,
    store     TEXT   NOT NULL,
    cause     TEXT   NOT NULL,
    evictions BIGINT NOT NULL,
    bytes     BIGINT NOT NULL,
    PRIMARY KEY (minute, store, cause)
) WITHOUT ROWID;

CREATE TABLE fill_stats (
    minute        BIGINT NOT NULL,
    store         TEXT   NOT NULL,
    image_id      TEXT   NOT NULL,
    fills         BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    took          BIGINT NOT NULL,
    longest       BIGINT NOT NULL,
    source_bytes  BIGINT NOT NULL,
    written_bytes BIGINT NOT NULL,
    PRIMARY KEY (minute, store, image_id)
) WITHOUT ROWID;

-- The local internal tenant's ledger.
CREATE TABLE claims (
    id         TEXT    NOT NULL PRIMARY KEY,
    project_id TEXT    NOT NULL,
    entry_id   TEXT    NOT NULL,
    attempt    BIGINT  NOT NULL,
    backend    TEXT    NOT NULL,
    image_id   TEXT    NOT NULL,
    gigabytes  BIGINT  NOT NULL,
    in_use     INTEGER NOT NULL,
    created_at BIGINT  NOT NULL,
    UNIQUE (entry_id, attempt)
);
CREATE INDEX claims_by_project ON claims (project_id);
