-- +goose Up
-- What daemons that are gone for good may have left half made, store by store, until another one has settled it.
CREATE TABLE IF NOT EXISTS estates (
    host  VARCHAR(255) NOT NULL,
    store VARCHAR(255) NOT NULL,
    PRIMARY KEY (host, store)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;
