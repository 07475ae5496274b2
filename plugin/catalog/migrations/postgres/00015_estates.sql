-- +goose Up
-- What daemons that are gone for good may have left half made, store by store, until another one has settled it.
CREATE TABLE estates (
    host  TEXT COLLATE "C" NOT NULL,
    store TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (host, store)
);
