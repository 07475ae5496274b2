-- +goose Up
-- Who asked through the API for what an event tells of; '': nobody did, or it was a request for a volume.
ALTER TABLE events ADD COLUMN who TEXT NOT NULL DEFAULT '';
