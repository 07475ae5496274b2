-- +goose Up
-- Images that are to be cached ahead of their first request: see SQLite's step.
CREATE TABLE IF NOT EXISTS fill_queue (
    id                VARCHAR(64)  NOT NULL PRIMARY KEY,
    store             VARCHAR(255) NOT NULL,
    image             TEXT         NOT NULL,
    state             VARCHAR(16)  NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    priority          BIGINT       NOT NULL,
    pin               BIGINT       NOT NULL,
    queued_at         BIGINT       NOT NULL,
    attempts          BIGINT       NOT NULL,
    next_try_at       BIGINT       NOT NULL,
    ended_at          BIGINT       NOT NULL,
    last_error        MEDIUMTEXT   NOT NULL,
    entry_id          VARCHAR(255) NOT NULL,
    lease_host        VARCHAR(255) NOT NULL,
    lease_incarnation VARCHAR(255) NOT NULL,
    lease_until       BIGINT       NOT NULL,
    read_bytes        BIGINT       NOT NULL,
    total_bytes       BIGINT       NOT NULL,
    version           BIGINT       NOT NULL,
    image_hash        BINARY(32)   AS (UNHEX(SHA2(image, 256))) PERSISTENT,
    UNIQUE KEY fill_queue_once (image_hash, store),
    KEY fill_queue_by_image (image(191)),
    KEY fill_queue_in_order (state, priority DESC, queued_at, id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
