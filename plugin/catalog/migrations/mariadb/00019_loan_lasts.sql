-- +goose Up
-- How long a loan lasts from each renewal on, at least, in microseconds: what was promised to who has it. 0: it was made before this.
ALTER TABLE loans ADD COLUMN IF NOT EXISTS lasts BIGINT NOT NULL DEFAULT 0;
