package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// ReserveRoom decides, in one transaction that is alone on this store, what goes so that the fill's
// reservation may grow to bytes: decide gets all that counts (the fill's own row left out, and those of fills that made no room yet) and returns
// the victims, which become evicting with their cause; the fill's row counts bytes from now on. An error
// of decide changes nothing and is returned as it is. decide must be quick, may read the Holdings as far
// as it needs them, must not use the catalog otherwise, and is asked again where others were in the way. A victim that is not a ready entry of the
// store is an error that changes nothing. ErrLost, ErrPinned (a victim is pinned).
func (c *Catalog) ReserveRoom(ctx context.Context, id EntryID, attempt int, bytes int64, decide func(Holdings) (map[EntryID]EvictCause, error)) (victims []Entry, err error) {
	var refusal error
	err = c.write(ctx, ofFill("reserve room", id, attempt), func(t tx) error {
		refusal, victims = nil, nil
		e, err := t.heldAlone(ctx, id, attempt)
		if err != nil {
			return err
		}
		all, err := t.holdings(ctx, e)
		if err != nil {
			return err
		}
		causes, err := decide(all)
		if err != nil {
			refusal = err
			return err
		}
		if victims, err = t.evict(ctx, e.Store, causes); err != nil {
			return err
		}
		return t.change(ctx, setReserved, bytes, id, attempt)
	})
	switch {
	case refusal != nil && c.failed(refusal) == other:
		return nil, refusal
	case err != nil:
		return nil, err
	}
	return victims, nil
}

const setReserved = `UPDATE entries SET reserved_bytes = ?, fill_room = 1 WHERE id = ? AND state = 'filling' AND attempt = ?`

// evict makes victims evicting, in the order of their IDs.
func (t tx) evict(ctx context.Context, store backends.StoreID, causes map[EntryID]EvictCause) ([]Entry, error) {
	var victims []Entry
	for _, id := range slices.Sorted(maps.Keys(causes)) {
		e, err := t.beginEvict(ctx, id, causes[id])
		if err != nil {
			return nil, fmt.Errorf("victim %s: %w", id, err)
		}
		if e.Store != store {
			return nil, fmt.Errorf("victim %s is of the store %s", id, e.Store)
		}
		victims = append(victims, e)
	}
	return victims, nil
}

const evictEntry = `UPDATE entries SET state = 'evicting', live_key = NULL, evict_cause = ?,
	lease_host = ?, lease_incarnation = ?, lease_until = ?
	WHERE id = ? AND state = 'ready' AND pinned = 0`

// evictUntil is until when others leave to this daemon what it evicts from now on; zero: not at all.
func (t tx) evictUntil(ctx context.Context) (time.Time, error) {
	if t.c.evictFor == 0 {
		return time.Time{}, nil
	}
	now, err := t.now(ctx)
	return now.Add(t.c.evictFor), err
}

// beginEvict is BeginEvict within a transaction.
func (t tx) beginEvict(ctx context.Context, id EntryID, cause EvictCause) (Entry, error) {
	until, err := t.evictUntil(ctx)
	if err != nil {
		return Entry{}, err
	}
	changed := t.change(ctx, evictEntry, cause, t.c.evictor.Instance, t.c.evictor.Incarnation, micros(until), id)
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
