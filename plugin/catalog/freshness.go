package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// Reading is an entry that is, as far as is known, what an image is.
type Reading struct {
	Entry EntryID
	Store backends.StoreID
	Image string
}

const (
	selectUnseen = `SELECT e.id, e.store, i.image_id FROM entries e JOIN entry_images i ON i.entry_id = e.id
		WHERE e.state = 'ready' AND e.last_used_at < ? AND i.superseded_by = '' AND i.current_at < ? AND SUBSTR(i.image_id, 1, ?) = ?
		GROUP BY e.id, e.store, i.image_id ORDER BY e.id, i.image_id`
	setSeen = `UPDATE entry_images SET current_at = ? WHERE entry_id = ? AND image_id = ? AND superseded_by = '' AND current_at < ?`
)

// Unseen are the ready entries of a source's images that were neither used nor found to be what their image is since that
// time.
func (c *Catalog) Unseen(ctx context.Context, source string, since time.Time) ([]Reading, error) {
	prefix := source + ":"
	var all []Reading
	err := c.read(ctx, "list entries to look at of "+source, func(t tx) error {
		all = nil
		return t.each(ctx, func(rows *sql.Rows) error {
			var r Reading
			err := rows.Scan(&r.Entry, &r.Store, &r.Image)
			all = append(all, r)
			return err
		}, selectUnseen, micros(since), micros(since), len([]rune(prefix)), prefix)
	})
	return all, err
}

// Seen notes that an entry is now what an image is.
func (c *Catalog) Seen(ctx context.Context, r Reading) error {
	return c.write(ctx, fmt.Sprintf("note that entry %s is current", r.Entry), func(t tx) error {
		now, err := t.now(ctx)
		if err == nil {
			_, err = t.exec(ctx, setSeen, micros(now), r.Entry, r.Image, micros(now))
		}
		return err
	})
}
