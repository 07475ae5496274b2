-- +goose Up
-- Images that are to be cached ahead of their first request: see SQLite's step.
CREATE TABLE fill_queue (
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    store             TEXT COLLATE "C" NOT NULL,
    image             TEXT COLLATE "C" NOT NULL,
    state             TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    priority          BIGINT NOT NULL,
    pin               BIGINT NOT NULL,
    queued_at         BIGINT NOT NULL,
    attempts          BIGINT NOT NULL,
    next_try_at       BIGINT NOT NULL,
    ended_at          BIGINT NOT NULL,
    last_error        TEXT COLLATE "C" NOT NULL,
    entry_id          TEXT COLLATE "C" NOT NULL,
    lease_host        TEXT COLLATE "C" NOT NULL,
    lease_incarnation TEXT COLLATE "C" NOT NULL,
    lease_until       BIGINT NOT NULL,
    read_bytes        BIGINT NOT NULL,
    total_bytes       BIGINT NOT NULL,
    version           BIGINT NOT NULL
);
CREATE UNIQUE INDEX fill_queue_once ON fill_queue (store, md5(image));
CREATE INDEX fill_queue_by_image ON fill_queue USING hash (image);
CREATE INDEX fill_queue_in_order ON fill_queue (state, priority DESC, queued_at, id);
