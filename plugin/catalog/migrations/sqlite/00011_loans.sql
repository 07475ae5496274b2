-- +goose Up
-- Image-volumes that somebody makes a clone of by itself: none is retired while a loan of it lives. lent_to is the volume
-- that is to be made, and place where; generation is the volume that is lent, one of those that the image-volume consists of.
CREATE TABLE loans (
    id           TEXT   NOT NULL PRIMARY KEY,
    entry_id     TEXT   NOT NULL,
    store        TEXT   NOT NULL,
    image_volume TEXT   NOT NULL,
    generation   TEXT   NOT NULL,
    lent_to      TEXT   NOT NULL,
    place        TEXT   NOT NULL,
    host         TEXT   NOT NULL,
    lent_at      BIGINT NOT NULL,
    until_at     BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX loans_by_entry ON loans (entry_id, until_at);

-- How many volumes an image-volume consists of: each counts as one where their number is bounded.
ALTER TABLE entries ADD COLUMN volumes BIGINT NOT NULL DEFAULT 1;
CREATE INDEX entries_of_several ON entries (store, volumes) WHERE volumes > 1;
