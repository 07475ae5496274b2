package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/clonecache/clonecache/backends"
)

// Filter selects entries. The zero Filter selects all.
type Filter struct {
	Store   backends.StoreID
	States  []State
	ImageID string // SOURCE:ID
	// Contains is a part of the entry's ID, or of one of its images' SOURCE:ID. It takes time in proportion to the
	// number of entries.
	Contains string
	InUse    bool // only those with live clones, as far as the catalog knows
	Order    Order
	After    ListPlace // entries that come after it in that order, for paging; zero: the beginning
	Limit    int       // 0: no limit
}

// Get returns one entry. ErrNotFound.
func (c *Catalog) Get(ctx context.Context, id EntryID) (Entry, error) {
	var e Entry
	err := c.read(ctx, fmt.Sprintf("get entry %s", id), func(t tx) (err error) {
		e, err = t.entry(ctx, id)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// Find returns the live entry (filling, ready or failed) of a store, by key and domain or by alias. ErrNotFound.
func (c *Catalog) Find(ctx context.Context, store backends.StoreID, domain string, key Key) (Entry, error) {
	var e Entry
	err := c.read(ctx, fmt.Sprintf("find %s on %s", key, store), func(t tx) (err error) {
		e, err = t.find(ctx, store, domain, key, 0)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// List returns entries in the order that is asked for. With a limit, and without Contains, it takes time in proportion to what
// it goes by: to that limit where most entries are of the store and states that are asked for.
func (c *Catalog) List(ctx context.Context, f Filter) ([]Entry, error) {
	var all []Entry
	err := c.read(ctx, "list entries", func(t tx) (err error) {
		if f.Limit > 0 {
			stmt, args := f.page(c.dialect)
			if all, err = t.entries(ctx, stmt, args...); err != nil {
				return err
			}
			return t.imagesOf(ctx, all)
		}
		where, args := f.where(c.dialect)
		if all, err = t.entries(ctx, listEntries+where, args...); err != nil {
			return err
		}
		return t.listImages(ctx, all, where, args)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

const selectIdle = `SELECT ` + entryColumns + ` FROM entries e
	WHERE e.store = ? AND e.state = 'ready' AND e.pinned = 0 AND e.in_use = 0 AND e.hits >= 0
	ORDER BY e.used_at, e.created_at, e.id LIMIT ?`

// Idle returns the first so many ready entries of a store that are neither pinned nor have live clones, as
// far as the catalog knows, least recently used first and without their ImageIDs. It takes time in
// proportion to what it returns.
func (c *Catalog) Idle(ctx context.Context, store backends.StoreID, limit int) ([]Entry, error) {
	var idle []Entry
	err := c.read(ctx, fmt.Sprintf("list idle entries of %s", store), func(t tx) (err error) {
		idle, err = t.entries(ctx, selectIdle, store, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return idle, nil
}

const (
	selectBeginning = `SELECT ` + entryColumns + ` FROM entries e WHERE e.id >= ? AND e.id < ? ORDER BY e.id LIMIT ?`
	selectEnding    = `SELECT ` + entryColumns + ` FROM entries e WHERE e.id_end = ? AND `
	endingOrder     = ` ORDER BY e.id LIMIT ?`
)

// MinPart is the least that Match can do with, in bytes: the ends of IDs of which there is an index.
const MinPart = 4

// afterAll sorts after whatever may follow a beginning.
const afterAll = "\U0010FFFF"

// Match returns the entries whose ID begins or ends with part, at most limit of them, ordered by ID and
// without their ImageIDs. IDs are in lower case; part need not be. A part shorter than MinPart matches
// nothing. It takes time in proportion to what it finds.
func (c *Catalog) Match(ctx context.Context, part string, limit int) ([]Entry, error) {
	if len(part) < MinPart {
		return nil, nil
	}
	part = strings.ToLower(part)
	var found []Entry
	err := c.read(ctx, "match entries", func(t tx) error {
		beginning, err := t.entries(ctx, selectBeginning, part, part+afterAll, limit)
		if err != nil {
			return err
		}
		ending, err := t.entries(ctx, selectEnding+c.dialect.ending+endingOrder, part[len(part)-MinPart:], part, part, limit)
		found = slices.Concat(beginning, ending)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
	found = slices.CompactFunc(found, func(a, b Entry) bool { return a.ID == b.ID })
	return found[:min(limit, len(found))], nil
}

const (
	listEntries = `SELECT ` + entryColumns + ` FROM entries e`
	listImages  = `SELECT i.entry_id, i.image_id FROM (SELECT e.id FROM entries e%s) page
		JOIN entry_images i ON i.entry_id = page.id ORDER BY i.entry_id, i.added_at, i.image_id`
)

// where is what follows `FROM entries e`.
func (f Filter) where(d dialect) (string, []any) {
	var conditions []string
	var args []any
	add := func(condition string, values ...any) {
		conditions = append(conditions, condition)
		args = append(args, values...)
	}
	if f.After != (ListPlace{}) {
		condition, values := f.Order.behind(f.After)
		add(condition, values...)
	}
	if f.Store != "" {
		add("e.store = ?", f.Store)
	}
	if len(f.States) > 0 {
		var states []any
		for _, s := range f.States {
			states = append(states, s)
		}
		add("e.state IN (?"+strings.Repeat(", ?", len(states)-1)+")", states...)
	}
	if f.InUse {
		add("e.in_use = 1")
	}
	if f.ImageID != "" {
		add("e.id IN (SELECT entry_id FROM entry_images WHERE image_id = ?)", f.ImageID)
	}
	if f.Contains != "" {
		add("("+d.contains("e.id")+" OR e.id IN (SELECT entry_id FROM entry_images WHERE "+d.contains("image_id")+"))", f.Contains, f.Contains)
	}
	where := ""
	if len(conditions) > 0 {
		where = " WHERE " + strings.Join(conditions, " AND ")
	}
	where += f.Order.by()
	if f.Limit > 0 {
		where += " LIMIT " + strconv.Itoa(f.Limit)
	}
	return where, args
}

// listImages fills in the images of all entries that where selected, in one statement.
func (t tx) listImages(ctx context.Context, all []Entry, where string, args []any) error {
	at := make(map[EntryID]*Entry, len(all))
	for i := range all {
		at[all[i].ID] = &all[i]
	}
	return t.each(ctx, func(rows *sql.Rows) error { return addImageTo(at, rows) }, fmt.Sprintf(listImages, where), args...)
}
