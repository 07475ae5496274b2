-- +goose Up
-- The daemons that use the catalog, by their instances' UUIDs. A daemon says again and again that it lives, by the database's
-- clock: alive_until is when others may take it for lost. stopped is 1 once it has ended by itself.
CREATE TABLE hosts (
    id            TEXT    NOT NULL PRIMARY KEY,
    incarnation   TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    first_seen_at BIGINT  NOT NULL,
    begun_at      BIGINT  NOT NULL,
    last_seen_at  BIGINT  NOT NULL,
    alive_until   BIGINT  NOT NULL,
    stopped       INTEGER NOT NULL
) WITHOUT ROWID;

-- The stores that each daemon is configured for, and what it calls them. What one lacks may be another one's.
CREATE TABLE host_stores (
    host  TEXT NOT NULL,
    store TEXT NOT NULL,
    name  TEXT NOT NULL,
    PRIMARY KEY (host, store)
) WITHOUT ROWID;

-- What one daemon at a time does on a store; store is '' for what is about the whole catalog. done_at is when it was last
-- brought to its end.
CREATE TABLE duties (
    duty        TEXT   NOT NULL,
    store       TEXT   NOT NULL,
    host        TEXT   NOT NULL,
    incarnation TEXT   NOT NULL,
    lease_until BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    done_at     BIGINT NOT NULL,
    PRIMARY KEY (duty, store)
) WITHOUT ROWID;
