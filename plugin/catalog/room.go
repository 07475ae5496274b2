package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/clonecache/clonecache/backends"
)

// Holdings is what counts against a store's bounds.
type Holdings struct {
	// Entries are the filling, ready and evicting ones, in no order. Since there may be many, only what
	// decides is set: ID, Store, State, ReservedBytes, HeldBytes, Pinned, Hits, Clones and the times
	// CreatedAt, FilledAt and LastUsedAt.
	Entries       []Entry
	Detached      int
	DetachedBytes int64
}

// ReserveRoom decides, in one transaction that is alone on this store, what goes so that the fill's
// reservation may grow to bytes: decide gets all that counts (the fill's own row left out) and returns
// the victims, which become evicting with their cause; the fill's row counts bytes from now on. An error
// of decide changes nothing and is returned as it is. decide must be quick and not use the catalog. A
// victim that is not ready is an error that changes nothing. ErrLost, ErrPinned (a victim is pinned).
func (c *Catalog) ReserveRoom(ctx context.Context, id EntryID, attempt int, bytes int64, decide func(Holdings) (map[EntryID]EvictCause, error)) (victims []Entry, err error) {
	var refusal error
	err = c.write(ctx, ofFill("reserve room", id, attempt), func(t tx) error {
		e, err := t.heldAlone(ctx, id, attempt)
		if err != nil {
			return err
		}
		all, err := t.holdings(ctx, e.Store, id)
		if err != nil {
			return err
		}
		causes, err := decide(all)
		if err != nil {
			refusal = err
			return err
		}
		if victims, err = t.evict(ctx, all, causes); err != nil {
			return err
		}
		return t.change(ctx, setReserved, bytes, id, attempt)
	})
	switch {
	case refusal != nil:
		return nil, refusal
	case err != nil:
		return nil, err
	}
	return victims, nil
}

const (
	setReserved = `UPDATE entries SET reserved_bytes = ? WHERE id = ? AND state = 'filling' AND attempt = ?`

	selectHoldings = `SELECT id, state, reserved_bytes, held_bytes, pinned, hits, clones, created_at, filled_at, last_used_at
		FROM entries WHERE store = ? AND state IN ('filling', 'ready', 'evicting') AND id <> ?`
	countHoldings = `SELECT COUNT(*) FROM entries WHERE store = ? AND state IN ('filling', 'ready', 'evicting')`
	sumDetached   = `SELECT COUNT(*), COALESCE(SUM(held_bytes), 0) FROM entries WHERE store = ? AND state = 'detached'`
)

func (t tx) holdings(ctx context.Context, store backends.Name, except EntryID) (Holdings, error) {
	var h Holdings
	if err := t.row(ctx, sumDetached, store).Scan(&h.Detached, &h.DetachedBytes); err != nil {
		return Holdings{}, err
	}
	var count int
	if err := t.row(ctx, countHoldings, store).Scan(&count); err != nil {
		return Holdings{}, err
	}
	h.Entries = make([]Entry, 0, count)
	err := t.each(ctx, func(rows *sql.Rows) error {
		e := Entry{Store: store}
		var created, filled, used int64
		err := rows.Scan(&e.ID, &e.State, &e.ReservedBytes, &e.HeldBytes, &e.Pinned, &e.Hits, &e.Clones, &created, &filled, &used)
		e.CreatedAt, e.FilledAt, e.LastUsedAt = fromMicros(created), fromMicros(filled), fromMicros(used)
		h.Entries = append(h.Entries, e)
		return err
	}, selectHoldings, store, except)
	return h, err
}

// evict makes victims evicting, in the order of their IDs.
func (t tx) evict(ctx context.Context, all Holdings, causes map[EntryID]EvictCause) ([]Entry, error) {
	ready := make(map[EntryID]bool, len(causes))
	for _, e := range all.Entries {
		if _, victim := causes[e.ID]; victim {
			ready[e.ID] = e.State == Ready
		}
	}
	var victims []Entry
	for _, id := range slices.Sorted(maps.Keys(causes)) {
		if !ready[id] {
			return nil, fmt.Errorf("victim %s is not a ready entry of the store", id)
		}
		e, err := t.beginEvict(ctx, id, causes[id])
		if err != nil {
			return nil, fmt.Errorf("victim %s: %w", id, err)
		}
		victims = append(victims, e)
	}
	return victims, nil
}

const evictEntry = `UPDATE entries SET state = 'evicting', live_key = NULL, evict_cause = ?
	WHERE id = ? AND state = 'ready' AND pinned = 0`

// beginEvict is BeginEvict within a transaction.
func (t tx) beginEvict(ctx context.Context, id EntryID, cause EvictCause) (Entry, error) {
	changed := t.change(ctx, evictEntry, cause, id)
	if changed != nil && !errors.Is(changed, ErrLost) {
		return Entry{}, changed
	}
	e, err := t.entry(ctx, id)
	switch {
	case err != nil:
		return Entry{}, err
	case changed == nil:
		return e, nil
	case e.State == Ready && e.Pinned:
		return Entry{}, ErrPinned
	}
	return Entry{}, changed
}
