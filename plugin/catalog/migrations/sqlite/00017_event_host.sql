-- +goose Up
-- The daemon that noted an event: each sends out its own. '': an event of before there was this.
ALTER TABLE events ADD COLUMN host TEXT NOT NULL DEFAULT '';
