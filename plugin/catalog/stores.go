package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/clonecache/clonecache/backends"
)

// Store is a backend or file cache as the catalog knows it. Entries and the report's sums belong to its ID;
// its name may change.
type Store struct {
	ID       backends.StoreID
	Name     backends.Name // what it was called when it was last bound
	Kind     string
	Location string // for people
	BoundAt  time.Time
	Names    []backends.Name // every one that it has had, Name among them
	// Former is for Bind: the ID that earlier versions gave the store; "": none other.
	Former backends.StoreID
}

const (
	selectStores     = `SELECT id, name, kind, location, bound_at FROM stores ORDER BY bound_at, id`
	selectStoreNames = `SELECT store, name FROM store_names ORDER BY store, name`
	selectStore      = `SELECT name FROM stores WHERE id = ?`
	insertStore      = `INSERT INTO stores (id, name, kind, location, bound_at) VALUES (?, ?, ?, ?, ?)`
	renameStore      = `UPDATE stores SET name = ?, kind = ?, location = ?, bound_at = ? WHERE id = ?`
	insertStoreName  = `INSERT INTO store_names (store, name) VALUES (?, ?)`
)

// Stores lists the stores that were ever bound, in the order of their last binding.
func (c *Catalog) Stores(ctx context.Context) ([]Store, error) {
	var all []Store
	err := c.read(ctx, "list stores", func(t tx) (err error) {
		if all, err = t.stores(ctx); err != nil {
			return err
		}
		at := make(map[backends.StoreID]int, len(all))
		for i, s := range all {
			at[s.ID] = i
		}
		return t.each(ctx, func(rows *sql.Rows) error {
			var id backends.StoreID
			var name backends.Name
			err := rows.Scan(&id, &name)
			all[at[id]].Names = append(all[at[id]].Names, name)
			return err
		}, selectStoreNames)
	})
	return all, err
}

func (t tx) stores(ctx context.Context) ([]Store, error) {
	var all []Store
	err := t.each(ctx, func(rows *sql.Rows) error {
		var s Store
		var at int64
		err := rows.Scan(&s.ID, &s.Name, &s.Kind, &s.Location, &at)
		s.BoundAt = fromMicros(at)
		all = append(all, s)
		return err
	}, selectStores)
	return all, err
}

// Bind makes a store known under the name that it has now, and returns the one that it had; "" where it was
// not known. A store that was not known gets what older versions kept under its former ID, and the entries that they kept under
// the name legacy.
func (c *Catalog) Bind(ctx context.Context, s Store, legacy backends.Name) (was backends.Name, err error) {
	err = c.write(ctx, fmt.Sprintf("bind store %s as %s", s.ID, s.Name), func(t tx) error {
		was, err = t.bind(ctx, s, legacy)
		return err
	})
	return was, err
}

func (t tx) bind(ctx context.Context, s Store, legacy backends.Name) (was backends.Name, err error) {
	err = t.row(ctx, selectStore, s.ID).Scan(&was)
	known := err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", err
	}
	now, err := t.now(ctx)
	if err != nil {
		return "", err
	}
	if known {
		err = t.change(ctx, renameStore, s.Name, s.Kind, s.Location, micros(now), s.ID)
	} else {
		err = t.change(ctx, insertStore, s.ID, s.Name, s.Kind, s.Location, micros(now))
	}
	if err != nil {
		return "", err
	}
	stmt := insertStoreName + t.c.dialect.upsert("store_names", []string{"store", "name"}, nil, nil)
	if _, err := t.exec(ctx, stmt, s.ID, s.Name); err != nil {
		return "", err
	}
	if !known {
		if was, err = t.moveFormer(ctx, s); err != nil {
			return "", err
		}
		if err := t.moveEntries(ctx, legacy, s.ID); err != nil {
			return "", err
		}
		if err := t.moveSums(ctx, legacy, s.ID); err != nil {
			return "", err
		}
	}
	return was, t.moveSums(ctx, s.Name, s.ID)
}

// moveStore brings entries of a store that was kept by its name under its ID: live_key begins with it, quoted, but in quarantine.
const moveStore = `UPDATE entries SET store = ?,
	live_key = CASE WHEN live_key IS NULL OR quarantined_at > 0 THEN live_key ELSE ? || substr(live_key, ?) END WHERE store = ?`

const moveDeparted = `UPDATE departed SET store = ? WHERE store = ?`

func (t tx) moveEntries(ctx context.Context, from backends.Name, to backends.StoreID) error {
	was := strconv.Quote(string(from))
	if _, err := t.exec(ctx, moveStore, to, strconv.Quote(string(to)), utf8.RuneCountInString(was)+1, from); err != nil {
		return err
	}
	_, err := t.exec(ctx, moveDeparted, to, from)
	return err
}

// moveAlong are the tables, beside the entries and sums, whose rows go with a store that gets another ID.
var moveAlong = []string{
	`UPDATE loans SET store = ? WHERE store = ?`,
	`UPDATE fill_queue SET store = ? WHERE store = ?`,
	`UPDATE paused_stores SET store = ? WHERE store = ?`,
	`UPDATE estates SET store = ? WHERE store = ?`,
	`UPDATE store_names SET store = ? WHERE store = ?`,
}

// moveFormer brings what is kept under a store's former ID under the one that it has now, and returns what it was called; "" where
// there is no such store. The new ID is known by then, and has nothing yet but its name.
func (t tx) moveFormer(ctx context.Context, s Store) (was backends.Name, err error) {
	if s.Former == "" || s.Former == s.ID {
		return "", nil
	}
	err = t.row(ctx, selectStore, s.Former).Scan(&was)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	former := backends.Name(s.Former)
	if err := errors.Join(t.moveEntries(ctx, former, s.ID), t.moveSums(ctx, former, s.ID)); err != nil {
		return "", err
	}
	if _, err := t.exec(ctx, `DELETE FROM store_names WHERE store = ?`, s.ID); err != nil {
		return "", err
	}
	for _, move := range moveAlong {
		if _, err := t.exec(ctx, move, s.ID, s.Former); err != nil {
			return "", err
		}
	}
	stmt := insertStoreName + t.c.dialect.upsert("store_names", []string{"store", "name"}, nil, nil)
	if _, err := t.exec(ctx, stmt, s.ID, s.Name); err != nil {
		return "", err
	}
	return was, t.stillThat(ctx, `DELETE FROM stores WHERE id = ?`, s.Former)
}

// storeSums are the sums that are kept store by store.
var storeSums = []struct {
	table, store     string // store is the key that names it
	keys, sums, most []string
}{
	{"request_stats", "backend", requestStatKeys, requestStatSums, nil},
	{"eviction_stats", "store", evictionStatKeys, evictionStatSums, nil},
	{"fill_stats", "store", fillStatKeys, fillStatSums, fillStatMost},
	{"latency_stats", "store", latencyStatKeys, latencyStatSums, nil},
}

// moveSums adds what is summed under from to what is summed under to: what requests of a store came to before it was bound is summed
// under its name.
func (t tx) moveSums(ctx context.Context, from backends.Name, to backends.StoreID) error {
	if string(from) == string(to) {
		return nil
	}
	for _, s := range storeSums {
		columns := slices.Concat(s.keys, s.sums, s.most)
		values := slices.Clone(columns)
		values[slices.Index(columns, s.store)] = "?"
		move := "INSERT INTO " + s.table + " (" + strings.Join(columns, ", ") + ") SELECT " + strings.Join(values, ", ") +
			" FROM " + s.table + " moved WHERE " + s.store + " = ?" + t.c.dialect.upsert(s.table, s.keys, s.sums, s.most)
		if _, err := t.exec(ctx, move, to, from); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM "+s.table+" WHERE "+s.store+" = ?", from); err != nil {
			return err
		}
	}
	return nil
}

// idsByName are the IDs that names stand for, to a daemon: two hosts may have a store each of one name. Where it has none
// of a name, that is the last one that was bound under it.
func (t tx) idsByName(ctx context.Context, host InstanceID) (map[backends.Name]backends.StoreID, error) {
	all, err := t.stores(ctx)
	if err != nil {
		return nil, err
	}
	ids := make(map[backends.Name]backends.StoreID, len(all))
	for _, s := range all {
		ids[s.Name] = s.ID
	}
	own, err := t.ownStores(ctx, host)
	maps.Copy(ids, own)
	return ids, err
}

const selectUnbound = `SELECT DISTINCT e.store FROM entries e LEFT JOIN stores s ON s.id = e.store WHERE s.id IS NULL ORDER BY e.store`

// Unbound are the names under which older versions kept entries of stores that were not opened since.
func (c *Catalog) Unbound(ctx context.Context) ([]backends.Name, error) {
	var all []backends.Name
	err := c.read(ctx, "list names of stores that are not bound", func(t tx) error {
		all = nil
		return t.each(ctx, func(rows *sql.Rows) error {
			var name backends.Name
			err := rows.Scan(&name)
			all = append(all, name)
			return err
		}, selectUnbound)
	})
	return all, err
}
