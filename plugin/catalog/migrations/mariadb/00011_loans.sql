-- +goose Up
-- Image-volumes that are lent: see SQLite's step.
CREATE TABLE IF NOT EXISTS loans (
    id           VARCHAR(255) NOT NULL PRIMARY KEY,
    entry_id     VARCHAR(255) NOT NULL,
    store        VARCHAR(255) NOT NULL,
    image_volume VARCHAR(255) NOT NULL,
    generation   VARCHAR(255) NOT NULL,
    lent_to      VARCHAR(255) NOT NULL,
    place        VARCHAR(255) NOT NULL,
    host         VARCHAR(255) NOT NULL,
    lent_at      BIGINT       NOT NULL,
    until_at     BIGINT       NOT NULL,
    KEY loans_by_entry (entry_id, until_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

ALTER TABLE entries ADD COLUMN IF NOT EXISTS volumes BIGINT NOT NULL DEFAULT 1;
CREATE INDEX IF NOT EXISTS entries_of_several ON entries (store, volumes);
