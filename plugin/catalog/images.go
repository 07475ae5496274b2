package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// addOnce keeps the order in which images became known; one image can have had several revisions.
func addOnce(images []string, image string) []string {
	if slices.Contains(images, image) {
		return images
	}
	return append(images, image)
}

const insertImage = `INSERT INTO entry_images (entry_id, image_id, revision_key, added_at) VALUES (?, ?, ?, ?)`

const (
	// MaxRevisions is how many keys an entry has of one image: the latest ones.
	MaxRevisions = 16
	// MaxImages is how many keys and images an entry is known by: the latest ones.
	MaxImages = 2000
)

// addImage makes an entry that is there known as image, and by key where that is not "". What is beyond
// MaxRevisions and MaxImages goes: such an image is read again.
func (t tx) addImage(ctx context.Context, id EntryID, image string, key Key, now time.Time) error {
	stmt := insertImage + t.c.dialect.upsert("entry_images", []string{"entry_id", "image_id", "revision_key"}, nil, nil)
	if _, err := t.exec(ctx, stmt, id, image, key, micros(now)); err != nil {
		return err
	}
	if key != "" {
		if err := t.dropImages(ctx, id, oldRevisions, id, image, MaxRevisions); err != nil {
			return err
		}
	}
	return t.dropImages(ctx, id, oldImages, id, MaxImages)
}

const (
	oldRevisions = `SELECT image_id, revision_key FROM entry_images WHERE entry_id = ? AND image_id = ? AND revision_key <> ''
		ORDER BY added_at DESC, revision_key LIMIT 1000000 OFFSET ?`
	oldImages = `SELECT image_id, revision_key FROM entry_images WHERE entry_id = ?
		ORDER BY added_at DESC, image_id, revision_key LIMIT 1000000 OFFSET ?`
	deleteImage = `DELETE FROM entry_images WHERE entry_id = ? AND image_id = ? AND revision_key = ?`
)

// dropImages removes the rows of an entry's images that a statement selects.
func (t tx) dropImages(ctx context.Context, id EntryID, stmt string, args ...any) error {
	var old [][2]string
	err := t.each(ctx, func(rows *sql.Rows) error {
		var row [2]string
		err := rows.Scan(&row[0], &row[1])
		old = append(old, row)
		return err
	}, stmt, args...)
	if err != nil {
		return err
	}
	for _, row := range old {
		if err := t.change(ctx, deleteImage, id, row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}

// AddImage makes an entry known under another image ID, and by key where that is not "". Repeating
// it is harmless. A ready entry is what the image is from now on. Where several live entries of a store have one such key, Find prefers a
// ready one, then the newest. ErrNotFound.
func (c *Catalog) AddImage(ctx context.Context, id EntryID, imageID string, revision Key) error {
	op := fmt.Sprintf("add image %s to entry %s", imageID, id)
	return c.write(ctx, op, func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		e, err := scanEntry(t.row(ctx, selectEntry, id))
		if err != nil {
			return err
		}
		if err := t.addImage(ctx, id, imageID, revision, now); err != nil || e.State != Ready {
			return err
		}
		return t.current(ctx, e, imageID, now, now)
	})
}

const selectAliases = `SELECT i.revision_key, i.entry_id FROM entries e
	JOIN entry_images i ON i.entry_id = e.id
	WHERE e.state = 'ready' AND i.revision_key <> '' ORDER BY i.entry_id, i.revision_key`

// Aliases returns every revision key of ready entries, for the in-memory view.
func (c *Catalog) Aliases(ctx context.Context) (map[Key][]EntryID, error) {
	var aliases map[Key][]EntryID
	err := c.read(ctx, "list aliases", func(t tx) error {
		aliases = make(map[Key][]EntryID)
		return t.each(ctx, func(rows *sql.Rows) error {
			var key Key
			var id EntryID
			if err := rows.Scan(&key, &id); err != nil {
				return err
			}
			if !slices.Contains(aliases[key], id) {
				aliases[key] = append(aliases[key], id)
			}
			return nil
		}, selectAliases)
	})
	if err != nil {
		return nil, err
	}
	return aliases, nil
}

// Adopt inserts a ready entry for a committed image-volume that no row names (check --repair), or a
// detached one, where e.State is that: it is found by no key. An empty ID, CreatedAt, FilledAt or
// LastUsedAt is set to a new ID or to now; the keys are the first image's. A failed row with its ID
// or its key gives way. Where e.Quarantine says why, a ready one is in quarantine from the start, for all daemons, whoever has
// its key. ErrLost: another live entry has its key, or its ID is taken - perhaps by the row of this very image-volume -,
// or it is to be detached and another detached entry has its image-volume.
func (c *Catalog) Adopt(ctx context.Context, e Entry, keys ...Key) error {
	if e.ID == "" {
		id, err := newID()
		if err != nil {
			return fmt.Errorf("adopt image-volume %s: %w", e.ImageVolume, err)
		}
		e.ID = EntryID(id)
	}
	op := fmt.Sprintf("adopt image-volume %s as entry %s", e.ImageVolume, e.ID)
	return c.write(ctx, op, func(t tx) error {
		if err := t.lock(ctx, storeLock(e.Store)); err != nil {
			return err
		}
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if err := t.vacant(ctx, e); err != nil {
			return err
		}
		e = adopted(e, now)
		if err := t.insert(ctx, e); err != nil {
			return err
		}
		for _, image := range e.ImageIDs {
			if err := t.addImage(ctx, e.ID, image, "", now); err != nil {
				return err
			}
		}
		for _, key := range keys {
			if len(e.ImageIDs) == 0 || key == "" {
				continue
			}
			if err := t.addImage(ctx, e.ID, e.ImageIDs[0], key, now); err != nil {
				return err
			}
		}
		if e.State != Ready {
			return nil
		}
		if err := t.allCurrent(ctx, e, e.ImageIDs, e.FilledAt, now); err != nil || e.Quarantine == "" { // whichever is adopted first
			return err
		}
		return t.change(ctx, quarantineEntry, micros(now), e.Quarantine, inQuarantine(e.ID), e.ID, e.ImageVolume)
	})
}

const selectDetached = `SELECT COUNT(*) FROM entries WHERE store = ? AND state = 'detached' AND image_volume = ?`

// vacant tells whether an entry's ID and the key that it is to have are free, and removes a failed row that has them. An
// image-volume is one detached entry's alone: its reap would be told twice. ErrLost.
func (t tx) vacant(ctx context.Context, e Entry) error {
	if e.State == Detached && e.ImageVolume != "" {
		var same int
		err := t.row(ctx, selectDetached, e.Store, e.ImageVolume).Scan(&same)
		if err == nil && same > 0 {
			err = ErrLost
		}
		if err != nil {
			return err
		}
	}
	if err := t.giveWay(ctx, selectEntry, e.ID); err != nil || e.State == Detached || e.Quarantine != "" {
		return err
	}
	return t.giveWay(ctx, selectLive, live(e.Store, e.Domain, e.Key))
}

// giveWay removes the row that a statement selects, if it failed. ErrLost: it did not.
func (t tx) giveWay(ctx context.Context, stmt string, arg any) error {
	other, err := scanEntry(t.row(ctx, stmt, arg))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case other.State == Failed:
		return t.stillThat(ctx, deleteEntry, other.ID, Failed)
	}
	return ErrLost
}

// adopted is e as a ready row, or a detached one.
func adopted(e Entry, now time.Time) Entry {
	if e.State != Detached {
		e.State, e.EvictCause = Ready, ""
	}
	e.ReservedBytes = 0
	e.Lease, e.LeaseUntil, e.LastError, e.RetryAfter = Holder{}, time.Time{}, "", time.Time{}
	e.FailedAt, e.Failure = time.Time{}, ""
	for _, at := range []*time.Time{&e.CreatedAt, &e.FilledAt, &e.LastUsedAt} {
		if at.IsZero() {
			*at = now
		}
	}
	return e
}
