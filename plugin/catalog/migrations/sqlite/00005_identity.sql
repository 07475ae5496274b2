-- +goose Up
-- Whose this catalog is: its own ID ('catalog'), and of one that only a single daemon has, that daemon's
-- ('instance'). Leases and journals bear the daemon's ID where they bore its host's name before.
CREATE TABLE identity (
    name TEXT NOT NULL PRIMARY KEY,
    id   TEXT NOT NULL
) WITHOUT ROWID;
