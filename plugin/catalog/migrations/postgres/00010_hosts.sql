-- +goose Up
-- The daemons that use the catalog, their stores, and what one of them does at a time: see SQLite's step.
CREATE TABLE hosts (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    incarnation   TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    version       TEXT COLLATE "C" NOT NULL,
    first_seen_at BIGINT  NOT NULL,
    begun_at      BIGINT  NOT NULL,
    last_seen_at  BIGINT  NOT NULL,
    alive_until   BIGINT  NOT NULL,
    stopped       INTEGER NOT NULL
);

CREATE TABLE host_stores (
    host  TEXT COLLATE "C" NOT NULL,
    store TEXT COLLATE "C" NOT NULL,
    name  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (host, store)
);

CREATE TABLE duties (
    duty        TEXT COLLATE "C" NOT NULL,
    store       TEXT COLLATE "C" NOT NULL,
    host        TEXT COLLATE "C" NOT NULL,
    incarnation TEXT COLLATE "C" NOT NULL,
    lease_until BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    done_at     BIGINT NOT NULL,
    PRIMARY KEY (duty, store)
);
