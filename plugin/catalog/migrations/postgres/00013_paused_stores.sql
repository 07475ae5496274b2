-- +goose Up
-- Stores that are out of use: see SQLite's step.
CREATE TABLE paused_stores (
    store TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    at    BIGINT NOT NULL
);
