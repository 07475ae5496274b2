-- +goose Up
-- How far a fill has come, and whether room was made for it: see SQLite's step.
ALTER TABLE entries ADD COLUMN IF NOT EXISTS fill_begun BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN IF NOT EXISTS fill_read BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN IF NOT EXISTS fill_written BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN IF NOT EXISTS fill_total BIGINT NOT NULL DEFAULT -1;
ALTER TABLE entries ADD COLUMN IF NOT EXISTS fill_room INTEGER NOT NULL DEFAULT 0;
UPDATE entries SET fill_room = 1 WHERE state = 'filling';
