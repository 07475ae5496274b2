-- +goose Up
-- Image-volumes that are lent: see SQLite's step.
CREATE TABLE loans (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    entry_id     TEXT COLLATE "C" NOT NULL,
    store        TEXT COLLATE "C" NOT NULL,
    image_volume TEXT COLLATE "C" NOT NULL,
    generation   TEXT COLLATE "C" NOT NULL,
    lent_to      TEXT COLLATE "C" NOT NULL,
    place        TEXT COLLATE "C" NOT NULL,
    host         TEXT COLLATE "C" NOT NULL,
    lent_at      BIGINT NOT NULL,
    until_at     BIGINT NOT NULL
);
CREATE INDEX loans_by_entry ON loans (entry_id, until_at);

ALTER TABLE entries ADD COLUMN volumes BIGINT NOT NULL DEFAULT 1;
CREATE INDEX entries_of_several ON entries (store, volumes) WHERE volumes > 1;
