-- +goose Up
-- The stores that entries lie on, by their own IDs; name is what the configuration called one when it was
-- last opened. What was kept under names before is brought under the ID when the store is first opened.
CREATE TABLE stores (
    id       TEXT   NOT NULL PRIMARY KEY,
    name     TEXT   NOT NULL,
    kind     TEXT   NOT NULL,
    location TEXT   NOT NULL,
    bound_at BIGINT NOT NULL
) WITHOUT ROWID;

-- Every name that a store has had.
CREATE TABLE store_names (
    store TEXT NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
    name  TEXT NOT NULL,
    PRIMARY KEY (store, name)
) WITHOUT ROWID;
