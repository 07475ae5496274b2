package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/clonecache/clonecache/backends"
)

const (
	selectPaused = `SELECT store, at FROM paused_stores`
	deletePaused = `DELETE FROM paused_stores WHERE store = ?`
	insertPaused = `INSERT INTO paused_stores (store, at) VALUES (?, ?)`
)

// Paused are the stores that are out of use, and since when.
func (c *Catalog) Paused(ctx context.Context) (map[backends.StoreID]time.Time, error) {
	var all map[backends.StoreID]time.Time
	err := c.read(ctx, "list stores out of use", func(t tx) error {
		all = make(map[backends.StoreID]time.Time)
		return t.each(ctx, func(rows *sql.Rows) error {
			var id backends.StoreID
			var at int64
			err := rows.Scan(&id, &at)
			all[id] = fromMicros(at)
			return err
		}, selectPaused)
	})
	return all, err
}

// Pause notes that a store is out of use from now on; for one that is already nothing changes.
func (c *Catalog) Pause(ctx context.Context, store backends.StoreID) error {
	return c.write(ctx, fmt.Sprintf("put store %s out of use", store), func(t tx) error {
		if err := t.lock(ctx, storeLock(store)); err != nil {
			return err
		}
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, insertPaused+t.c.dialect.upsert("paused_stores", []string{"store"}, nil, nil), store, micros(now))
		return err
	})
}

// Resume notes that a store is in use.
func (c *Catalog) Resume(ctx context.Context, store backends.StoreID) error {
	return c.write(ctx, fmt.Sprintf("put store %s into use", store), func(t tx) error {
		_, err := t.exec(ctx, deletePaused, store)
		return err
	})
}
