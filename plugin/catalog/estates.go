package catalog

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/clonecache/clonecache/backends"
)

// An estate is what a daemon that is gone for good may have left half made on a store beside the rows of the catalog: volumes,
// of which only its own journal knew. RemoveHost notes one for each store that another daemon has too; Arrive of that very daemon, which
// has its journal, drops them.

const (
	insertEstate = `INSERT INTO estates (host, store) VALUES (?, ?)`
	// selectCommon are the stores of a daemon that another one has too.
	selectCommon  = `SELECT DISTINCT s.store FROM host_stores s JOIN host_stores o ON o.store = s.store AND o.host <> s.host WHERE s.host = ? ORDER BY s.store`
	selectEstates = `SELECT host FROM estates WHERE store = ? ORDER BY host`
	deleteEstate  = `DELETE FROM estates WHERE host = ? AND store = ?`
	deleteEstates = `DELETE FROM estates WHERE host = ?`
)

// leaveEstates notes those of a daemon that is removed.
func (t tx) leaveEstates(ctx context.Context, id InstanceID) error {
	var stores []backends.StoreID
	err := t.each(ctx, func(rows *sql.Rows) error {
		var store backends.StoreID
		err := rows.Scan(&store)
		stores = append(stores, store)
		return err
	}, selectCommon, id)
	if err != nil {
		return err
	}
	stmt := insertEstate + t.c.dialect.upsert("estates", []string{"host", "store"}, nil, nil)
	for _, store := range stores {
		if _, err := t.exec(ctx, stmt, id, store); err != nil {
			return err
		}
	}
	return nil
}

// Estates are the daemons that have left one on a store, by their IDs.
func (c *Catalog) Estates(ctx context.Context, store backends.StoreID) ([]InstanceID, error) {
	var all []InstanceID
	err := c.read(ctx, fmt.Sprintf("list what lost hosts left on %s", store), func(t tx) error {
		all = nil
		return t.each(ctx, func(rows *sql.Rows) error {
			var id InstanceID
			err := rows.Scan(&id)
			all = append(all, id)
			return err
		}, selectEstates, store)
	})
	return all, err
}

// EndEstate says that nothing of a daemon's is half made on a store any more. Repeating it is harmless.
func (c *Catalog) EndEstate(ctx context.Context, id InstanceID, store backends.StoreID) error {
	return c.write(ctx, fmt.Sprintf("note that what host %s left on %s is settled", id, store), func(t tx) error {
		_, err := t.exec(ctx, deleteEstate, id, store)
		return err
	})
}
