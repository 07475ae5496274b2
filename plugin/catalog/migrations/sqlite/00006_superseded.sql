-- +goose Up
-- Which entry has the content that an image has now, of those that had one after the other. current_at is when
-- an entry was last known to be that one; superseded_by is the entry that came after it, '-' where the image is
-- gone from its source, '' as long as it is current.
ALTER TABLE entry_images ADD COLUMN current_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entry_images ADD COLUMN superseded_by TEXT NOT NULL DEFAULT '';

-- An entry is superseded once it is so for every image that it is known as. superseded_at is 0 while it is not;
-- generation counts the contents that its image had here, 0 before it is known.
ALTER TABLE entries ADD COLUMN superseded_by TEXT NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN superseded_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
CREATE INDEX entries_superseded_by_use ON entries (store, in_use, used_at, created_at, id)
    WHERE state = 'ready' AND pinned = 0 AND superseded_at > 0;

-- Images that were cached once and why they are not any more, for the reason of the next miss.
CREATE TABLE departed (
    store    TEXT   NOT NULL,
    domain   TEXT   NOT NULL,
    image_id TEXT   NOT NULL,
    cause    TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (store, domain, image_id)
) WITHOUT ROWID;
CREATE INDEX departed_by_time ON departed (at);
