-- +goose Up
-- An image is served by an entry only if its own bytes were read and found to be the entry's. revision_key says so:
-- 'rev:IMAGE@WHAT/FORMAT', where WHAT is the image's revision, or the digest that its source promises. Earlier versions
-- also found entries by the digest alone, which anybody can claim: what rests on that goes. An image of an entry that was
-- filled once, and for that image alone, was read; of others that is not known, and they are read once more.
DELETE FROM entry_images WHERE revision_key <> '' AND (revision_key NOT LIKE 'rev:%' OR image_id LIKE '%@%');

INSERT INTO entry_images (entry_id, image_id, revision_key, added_at, current_at, superseded_by)
    SELECT e.id, i.image_id, 'rev:' || i.image_id || '@' || e.digest || '/' || f.format, i.added_at, i.current_at, i.superseded_by
    FROM entries e JOIN entry_images i ON i.entry_id = e.id AND i.revision_key = ''
        CROSS JOIN (SELECT '?' AS format UNION SELECT 'raw' UNION SELECT 'qcow2') f
    WHERE e.state = 'ready' AND e.attempt = 1 AND e.digest <> '' AND i.image_id NOT LIKE '%@%' AND (f.format = '?' OR f.format = e.disk_format)
        AND (SELECT COUNT(DISTINCT a.image_id) FROM entry_images a WHERE a.entry_id = e.id) = 1
    ON CONFLICT (entry_id, image_id, revision_key) DO NOTHING;

-- Equal content of several owners may be in one entry, where that is allowed when it is filled.
CREATE INDEX entries_by_content ON entries (content_key, store);

-- When a fill failed, and what of its error outlives the request: '' where nothing does.
ALTER TABLE entries ADD COLUMN failed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN failure TEXT NOT NULL DEFAULT '';
