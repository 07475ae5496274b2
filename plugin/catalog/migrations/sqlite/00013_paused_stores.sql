-- +goose Up
-- Stores that are out of use until somebody says otherwise: requests step aside, and nothing is filled or removed.
CREATE TABLE paused_stores (
    store TEXT   NOT NULL PRIMARY KEY,
    at    BIGINT NOT NULL
) WITHOUT ROWID;
