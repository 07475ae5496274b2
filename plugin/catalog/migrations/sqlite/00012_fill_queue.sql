-- +goose Up
-- Images that are to be cached ahead of their first request: one row a store and image. Workers take waiting rows, the
-- greatest priority first, and hold them by a lease; a row whose lease has run out is waiting again. version counts
-- its changes of hands, for compare-and-set. What has ended stays for a while, for people.
CREATE TABLE fill_queue (
    id                TEXT   NOT NULL PRIMARY KEY,
    store             TEXT   NOT NULL,
    image             TEXT   NOT NULL,
    state             TEXT   NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    priority          BIGINT NOT NULL,
    pin               BIGINT NOT NULL,
    queued_at         BIGINT NOT NULL,
    attempts          BIGINT NOT NULL,
    next_try_at       BIGINT NOT NULL,
    ended_at          BIGINT NOT NULL,
    last_error        TEXT   NOT NULL,
    entry_id          TEXT   NOT NULL,
    lease_host        TEXT   NOT NULL,
    lease_incarnation TEXT   NOT NULL,
    lease_until       BIGINT NOT NULL,
    read_bytes        BIGINT NOT NULL,
    total_bytes       BIGINT NOT NULL,
    version           BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX fill_queue_once ON fill_queue (image, store);
CREATE INDEX fill_queue_in_order ON fill_queue (state, priority DESC, queued_at, id);
