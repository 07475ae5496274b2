package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// Serves tells whether something may be made from the entry: it is ready, and was not found damaged.
func (e Entry) Serves() bool { return e.State == Ready && e.QuarantinedAt.IsZero() }

// ReadBackAt is when the entry's content was last known to be what it should be: as it was filled, at the earliest.
func (e Entry) ReadBackAt() time.Time {
	if e.VerifiedAt.After(e.FilledAt) {
		return e.VerifiedAt
	}
	return e.FilledAt
}

// readBackAt is Entry.ReadBackAt in SQL.
const readBackAt = `(CASE WHEN e.verified_at > e.filled_at THEN e.verified_at ELSE e.filled_at END)`

const selectDueForScrub = `SELECT ` + entryColumns + ` FROM entries e
	WHERE e.store = ? AND e.state = 'ready' AND e.quarantined_at = 0 AND ` + readBackAt + ` < ?
	ORDER BY ` + readBackAt + `, e.id LIMIT ?`

// DueForScrub are the first so many entries of a store that may serve and were not read back since that time, those that
// have waited longest first, without their ImageIDs.
func (c *Catalog) DueForScrub(ctx context.Context, store backends.StoreID, since time.Time, limit int) ([]Entry, error) {
	var due []Entry
	err := c.read(ctx, fmt.Sprintf("list entries to read back of %s", store), func(t tx) (err error) {
		due, err = t.entries(ctx, selectDueForScrub, store, micros(since), limit)
		return err
	})
	return due, err
}

const setVerified = `UPDATE entries SET verified_at = ?, content_sum = CASE WHEN content_sum = '' THEN ? ELSE content_sum END
	WHERE id = ? AND state = 'ready' AND image_volume = ? AND quarantined_at = 0`

// SetVerified notes that an entry's image-volume was read back now and is what it should be; sum is what its content adds
// up to, and is kept where none was known. ErrLost: the entry has gone meanwhile, or has another image-volume.
func (c *Catalog) SetVerified(ctx context.Context, e Entry, sum string) error {
	return c.write(ctx, fmt.Sprintf("note that entry %s was read back", e.ID), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		return t.change(ctx, setVerified, micros(now), sum, e.ID, e.ImageVolume)
	})
}

const (
	quarantineEntry = `UPDATE entries SET quarantined_at = ?, quarantine = ?, live_key = ?
		WHERE id = ? AND state = 'ready' AND image_volume = ? AND quarantined_at = 0`
	releaseEntry = `UPDATE entries SET quarantined_at = 0, quarantine = '', verified_at = ?, live_key = ?
		WHERE id = ? AND state = 'ready' AND quarantined_at > 0`
	selectQuarantined = `SELECT ` + entryColumns + ` FROM entries e WHERE e.quarantined_at > 0 AND e.state = 'ready' ORDER BY e.id`
)

// inQuarantine is the live_key of an entry that nobody finds. No live key begins like it: these begin with a quote.
func inQuarantine(id EntryID) string { return "quarantined " + string(id) }

// Quarantine keeps a ready entry from being found: nothing is made from it any more, and the next request for its
// image fills another one. It still counts, and may be evicted. ErrLost: it has gone meanwhile, or is in quarantine already.
func (c *Catalog) Quarantine(ctx context.Context, id EntryID, imageVolume backends.ImageVolumeID, why string) (Entry, error) {
	var e Entry
	err := c.write(ctx, fmt.Sprintf("put entry %s into quarantine", id), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		if err := t.change(ctx, quarantineEntry, micros(now), why, inQuarantine(id), id, imageVolume); err != nil {
			return err
		}
		e, err = t.entry(ctx, id)
		return err
	})
	return e, err
}

// Release lets an entry be found again that was read back and is what it should be. ErrLost: it is in no quarantine, or
// another entry has its content by now.
func (c *Catalog) Release(ctx context.Context, id EntryID) (Entry, error) {
	var e Entry
	err := c.write(ctx, fmt.Sprintf("release entry %s from quarantine", id), func(t tx) (err error) {
		if e, err = t.entry(ctx, id); err != nil {
			return err
		}
		if err := t.lock(ctx, storeLock(e.Store)); err != nil {
			return err
		}
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		key := live(e.Store, e.Domain, e.Key)
		var others int
		if err := t.row(ctx, `SELECT COUNT(*) FROM entries e WHERE e.live_key = ?`, key).Scan(&others); err != nil {
			return err
		}
		if others > 0 {
			return fmt.Errorf("%w: another entry has its content by now", ErrLost)
		}
		if err := t.change(ctx, releaseEntry, micros(now), key, id); err != nil {
			return err
		}
		e, err = t.entry(ctx, id)
		return err
	})
	return e, err
}

// Quarantined are the entries in quarantine, of all stores, with their ImageIDs.
func (c *Catalog) Quarantined(ctx context.Context) ([]Entry, error) {
	var all []Entry
	err := c.read(ctx, "list entries in quarantine", func(t tx) (err error) {
		if all, err = t.entries(ctx, selectQuarantined); err != nil {
			return err
		}
		for i := range all {
			if all[i], err = t.withImages(ctx, all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// ReadBack is how far the reading back of a store's image-volumes has come.
type ReadBack struct {
	Due    int64     // entries that were not read back since the time that was asked for
	Oldest time.Time // when the one was that has waited longest; zero where there is none
	// Quarantined are entries in quarantine, which are not read any more by themselves.
	Quarantined int64
}

const selectReadBack = `SELECT e.store, SUM(CASE WHEN e.quarantined_at = 0 AND ` + readBackAt + ` < ? THEN 1 ELSE 0 END),
	COALESCE(MIN(CASE WHEN e.quarantined_at = 0 THEN ` + readBackAt + ` END), 0), SUM(CASE WHEN e.quarantined_at > 0 THEN 1 ELSE 0 END)
	FROM entries e WHERE e.state = 'ready' GROUP BY e.store`

// ReadBack tells of each store that has ready entries how far its reading back has come. It takes time in proportion to
// the number of entries.
func (c *Catalog) ReadBack(ctx context.Context, since time.Time) (map[backends.StoreID]ReadBack, error) {
	var all map[backends.StoreID]ReadBack
	err := c.read(ctx, "sum up what was read back", func(t tx) error {
		all = make(map[backends.StoreID]ReadBack)
		return t.each(ctx, func(rows *sql.Rows) error {
			var store backends.StoreID
			var r ReadBack
			var oldest int64
			err := rows.Scan(&store, &r.Due, &oldest, &r.Quarantined)
			r.Oldest = fromMicros(oldest)
			all[store] = r
			return err
		}, selectReadBack, micros(since))
	})
	return all, err
}
