-- +goose Up
-- The daemons that use the catalog, their stores, and what one of them does at a time: see SQLite's step.
CREATE TABLE IF NOT EXISTS hosts (
    id            VARCHAR(255) NOT NULL PRIMARY KEY,
    incarnation   VARCHAR(255) NOT NULL,
    name          VARCHAR(255) NOT NULL,
    version       VARCHAR(255) NOT NULL,
    first_seen_at BIGINT       NOT NULL,
    begun_at      BIGINT       NOT NULL,
    last_seen_at  BIGINT       NOT NULL,
    alive_until   BIGINT       NOT NULL,
    stopped       INTEGER      NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS host_stores (
    host  VARCHAR(255) NOT NULL,
    store VARCHAR(255) NOT NULL,
    name  VARCHAR(255) NOT NULL,
    PRIMARY KEY (host, store)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS duties (
    duty        VARCHAR(64)  NOT NULL,
    store       VARCHAR(255) NOT NULL,
    host        VARCHAR(255) NOT NULL,
    incarnation VARCHAR(255) NOT NULL,
    lease_until BIGINT       NOT NULL,
    version     BIGINT       NOT NULL,
    done_at     BIGINT       NOT NULL,
    PRIMARY KEY (duty, store)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
