-- +goose Up
-- What stands in the image-volume, added up when it was filled; '' where that is not known.
ALTER TABLE entries ADD COLUMN content_sum TEXT NOT NULL DEFAULT '';
