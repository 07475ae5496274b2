package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

// An image whose content changes leaves the entry of its earlier content behind, which nobody will ask for
// again. Each entry keeps, for each image that it is known as, when it was last known to be what the image is
// now (current_at); of the ready entries of an image in one store, domain and form, the latest of these is current, and
// the others are superseded by it for that image. An entry is superseded once it is so for all of its images:
// equal content under another name is still asked for. Being used later makes it current again.

// imageGone stands in for the entry that came after, where the image is gone from its source.
const imageGone = "-"

const (
	setCurrent     = `UPDATE entry_images SET current_at = ? WHERE entry_id = ? AND image_id = ? AND current_at < ?`
	selectReadings = `SELECT e.id, MAX(i.current_at) AS since, e.generation, e.quarantined_at FROM entry_images i CROSS JOIN entries e
		WHERE i.image_id = ? AND e.id = i.entry_id AND e.store = ? AND e.domain = ? AND CASE WHEN e.form = 'source' THEN 'source' ELSE 'decoded' END = ? AND e.state = 'ready'
		GROUP BY e.id, e.generation, e.quarantined_at ORDER BY since DESC, e.id DESC`
	setSuperseded = `UPDATE entry_images SET superseded_by = ? WHERE entry_id = ? AND image_id = ? AND superseded_by <> ?`
	// markSuperseded sums an entry's images up.
	markSuperseded = `UPDATE entries SET
		superseded_by = CASE WHEN ? = '-' OR EXISTS (SELECT 1 FROM entry_images WHERE entry_id = entries.id AND superseded_by = '') THEN '' ELSE ? END,
		superseded_at = CASE WHEN EXISTS (SELECT 1 FROM entry_images WHERE entry_id = entries.id AND superseded_by = '') THEN 0
			WHEN superseded_at > 0 THEN superseded_at ELSE ? END
		WHERE id = ?`
	setGeneration = `UPDATE entries SET generation = ? WHERE id = ?`
)

// bearer is a ready entry that is, or was, what an image is.
type bearer struct {
	id         EntryID
	generation int64
	damaged    bool // in quarantine
}

// borne is what bears an image: the entries of a store, an owner and a form.
type borne struct {
	store  backends.StoreID
	domain string
	form   backends.Form
}

func (e Entry) borne() borne {
	if e.Form == backends.Source {
		return borne{e.Store, e.Domain, backends.Source}
	}
	return borne{e.Store, e.Domain, backends.Decoded}
}

// bearers are the ready entries of an image, the current one first.
func (t tx) bearers(ctx context.Context, by borne, image string) ([]bearer, error) {
	var all []bearer
	err := t.each(ctx, func(rows *sql.Rows) error {
		var b bearer
		var since, quarantined int64
		err := rows.Scan(&b.id, &since, &b.generation, &quarantined)
		b.damaged = quarantined > 0
		all = append(all, b)
		return err
	}, selectReadings, image, by.store, by.domain, by.form)
	return all, err
}

// current notes that a ready entry was what image is at that time, which may lie in the past.
func (t tx) current(ctx context.Context, e Entry, image string, at, now time.Time) error {
	if _, err := t.exec(ctx, setCurrent, micros(at), e.ID, image, micros(at)); err != nil {
		return err
	}
	all, err := t.bearers(ctx, e.borne(), image)
	if err != nil {
		return err
	}
	for i, b := range all {
		by := all[0].id
		if i == 0 {
			by = ""
		}
		if err := t.supersede(ctx, b.id, image, by, now); err != nil {
			return err
		}
	}
	return nil
}

// supersede notes which entry came after one for an image; "": it is the current one.
func (t tx) supersede(ctx context.Context, id EntryID, image string, by EntryID, now time.Time) error {
	if _, err := t.exec(ctx, setSuperseded, by, id, image, by); err != nil {
		return err
	}
	_, err := t.exec(ctx, markSuperseded, by, by, micros(now), id)
	return err
}

// succeed makes a ready entry what all of its images are now, and counts its generation: one more than that of
// the entries that it supersedes.
func (t tx) succeed(ctx context.Context, e Entry, images []string, now time.Time) error {
	generation := int64(1)
	for _, image := range images {
		all, err := t.bearers(ctx, e.borne(), image)
		if err != nil {
			return err
		}
		for _, b := range all {
			if b.id != e.ID {
				generation = max(generation, b.generation+1)
			}
		}
	}
	if _, err := t.exec(ctx, setGeneration, generation, e.ID); err != nil {
		return err
	}
	return t.allCurrent(ctx, e, images, now, now)
}

func (t tx) allCurrent(ctx context.Context, e Entry, images []string, at, now time.Time) error {
	for _, image := range images {
		if err := t.current(ctx, e, image, at, now); err != nil {
			return err
		}
	}
	return nil
}

const selectSuperseded = `SELECT ` + entryColumns + ` FROM entries e WHERE e.id = ? AND e.state = 'ready' AND e.superseded_at > 0 AND e.superseded_at < ?`

// usedAgain makes superseded entries that were used since current again, for the images that they were used as.
func (t tx) usedAgain(ctx context.Context, uses map[EntryID]use, now time.Time) error {
	for id, u := range uses {
		e, err := scanEntry(t.row(ctx, selectSuperseded, id, micros(u.last)))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for image := range u.images {
			if err := t.current(ctx, e, image, u.last, now); err != nil {
				return err
			}
		}
	}
	return nil
}

const selectOfImage = `SELECT ` + entryColumns + ` FROM entry_images i CROSS JOIN entries e
	WHERE i.image_id = ? AND i.superseded_by = '' AND e.id = i.entry_id AND e.state = 'ready' GROUP BY e.id ORDER BY e.id`

// ImageGone notes that an image is no longer at its source, for anybody: entries that are known as nothing else
// are superseded by nothing. Being used makes them current again. It writes only where that is news.
func (c *Catalog) ImageGone(ctx context.Context, image string) error {
	var known []Entry
	op := "note that image " + image + " is gone"
	err := c.read(ctx, op, func(t tx) (err error) {
		known, err = t.entries(ctx, selectOfImage, image)
		return err
	})
	if err != nil || len(known) == 0 {
		return err
	}
	return c.write(ctx, op, func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		for _, e := range known {
			if err := t.supersede(ctx, e.ID, image, imageGone, now); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	deleteDeparted = `DELETE FROM departed WHERE store = ? AND domain = ? AND image_id IN (SELECT image_id FROM entry_images WHERE entry_id = ?)`
	insertDeparted = `INSERT INTO departed (store, domain, image_id, cause, at)
		SELECT DISTINCT ?, ?, image_id, ?, CAST(? AS BIGINT) FROM entry_images WHERE entry_id = ?`
	selectDeparted = `SELECT cause FROM departed WHERE store = ? AND domain = ? AND image_id = ?`
	pruneDeparted  = `DELETE FROM departed WHERE at < ?`
)

// departedOnce is the key of departed on servers. Two who note of one image at once both delete what is there and add a row: the
// later one waits for the other, and is repeated where that is done. So is one whose COMMIT is still on its way.
const departedOnce = "departed_once"

// depart notes of an entry that is found no more why its images are not cached.
func (t tx) depart(ctx context.Context, e Entry) error {
	now, err := t.now(ctx)
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, deleteDeparted, e.Store, e.Domain, e.ID); err != nil {
		return err
	}
	_, err = t.exec(ctx, insertDeparted, e.Store, e.Domain, e.EvictCause, micros(now), e.ID)
	return err
}

// WhyAbsent tells why an image is about to be filled into a store: it has changed since it was cached, what is cached is in quarantine, it was
// evicted (cause says why), or nothing is known of it.
func (c *Catalog) WhyAbsent(ctx context.Context, store backends.StoreID, domain, image string) (why words.MissCause, cause EvictCause, err error) {
	err = c.read(ctx, fmt.Sprintf("find why %s is not on %s", image, store), func(t tx) error {
		why, cause = "", ""
		all, err := t.bearers(ctx, borne{store, domain, backends.Decoded}, image)
		if err != nil || len(all) > 0 {
			why = words.MissChanged
			if len(all) > 0 && all[0].damaged {
				why = words.MissQuarantined
			}
			return err
		}
		err = t.row(ctx, selectDeparted, store, domain, image).Scan(&cause)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			why = words.MissNeverCached
			return nil
		case err == nil:
			why = words.MissEvicted
		}
		return err
	})
	return why, cause, err
}
