-- +goose Up
-- How far a fill has come, as its holder last said with the renewal of its lease: for those who wait for it elsewhere. It
-- says something only of rows that are filling. fill_total is the length of the image, -1 where nobody tells.
ALTER TABLE entries ADD COLUMN fill_begun BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN fill_read BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN fill_written BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN fill_total BIGINT NOT NULL DEFAULT -1;
-- 1 once room was made for a fill: only then does it count as an entry. Those that wait for their turn do not.
ALTER TABLE entries ADD COLUMN fill_room INTEGER NOT NULL DEFAULT 0;
UPDATE entries SET fill_room = 1 WHERE state = 'filling';
