-- +goose Up
-- Stores that are out of use: see SQLite's step.
CREATE TABLE IF NOT EXISTS paused_stores (
    store VARCHAR(255) NOT NULL PRIMARY KEY,
    at    BIGINT       NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
