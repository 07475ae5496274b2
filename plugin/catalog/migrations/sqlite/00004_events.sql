-- +goose Up
-- What happened, one row an event, in the order in which it was noted. AUTOINCREMENT: an ID is never used
-- again, also where its row has gone. at is microseconds since 1970 UTC, took is microseconds.
CREATE TABLE events (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       BIGINT  NOT NULL,
    routine  INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    backend  TEXT    NOT NULL,
    image_id TEXT    NOT NULL,
    entry_id TEXT    NOT NULL,
    volume   TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    bytes    BIGINT  NOT NULL,
    took     BIGINT  NOT NULL
);
CREATE INDEX events_by_class ON events (routine, id);
