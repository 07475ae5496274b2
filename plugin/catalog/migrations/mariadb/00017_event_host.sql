-- +goose Up
-- The daemon that noted an event: each sends out its own. '': an event of before there was this.
ALTER TABLE events ADD COLUMN IF NOT EXISTS host VARCHAR(255) NOT NULL DEFAULT '';
