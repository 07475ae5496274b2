-- +goose Up
-- What daemons that are gone for good may have left half made, store by store, until another one has settled it.
CREATE TABLE estates (
    host  TEXT NOT NULL,
    store TEXT NOT NULL,
    PRIMARY KEY (host, store)
) WITHOUT ROWID;
