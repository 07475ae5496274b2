package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/internaltenant"
)

// BeginEvict makes a ready entry evicting: it is no longer found by its key. ErrPinned, ErrLost (not
// ready), ErrNotFound.
func (c *Catalog) BeginEvict(ctx context.Context, id EntryID, cause EvictCause) (Entry, error) {
	var e Entry
	err := c.write(ctx, fmt.Sprintf("begin to evict entry %s", id), func(t tx) (err error) {
		e, err = t.beginEvict(ctx, id, cause)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

const takeEviction = `UPDATE entries SET lease_host = ?, lease_incarnation = ?, lease_until = ?
	WHERE id = ? AND state = 'evicting' AND (lease_until <= ? OR lease_host = ?)`

// TakeEviction makes a left-over eviction this daemon's: its own, or one whose holder has not ended it in time. Its end may
// be repeated by another daemon if this one takes longer: each step of it is harmless then. ErrLost: it is another one's, or
// not evicting any more.
func (c *Catalog) TakeEviction(ctx context.Context, id EntryID) (Entry, error) {
	var e Entry
	err := c.write(ctx, fmt.Sprintf("take over the eviction of entry %s", id), func(t tx) error {
		now, err := t.now(ctx)
		if err != nil {
			return err
		}
		until, err := t.evictUntil(ctx)
		if err != nil {
			return err
		}
		own := c.evictor
		if err := t.change(ctx, takeEviction, own.Instance, own.Incarnation, micros(until), id, micros(now), own.Instance); err != nil {
			return err
		}
		e, err = t.entry(ctx, id)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

const detachEntry = `UPDATE entries SET state = 'detached', clones = ?, held_bytes = ?, lease_host = '', lease_incarnation = '', lease_until = 0
	WHERE id = ? AND state IN ('evicting', 'detached')`

// SetDetached makes an evicting entry detached, with the clones that hold it. Repeating it on a detached
// entry updates the figures. ErrLost.
func (c *Catalog) SetDetached(ctx context.Context, id EntryID, clones int, heldBytes int64) error {
	return c.write(ctx, fmt.Sprintf("detach entry %s", id), func(t tx) error {
		e, err := scanEntry(t.row(ctx, selectEntry, id))
		if err == nil && e.State == Evicting {
			err = t.depart(ctx, e)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		return t.change(ctx, detachEntry, clones, heldBytes, id)
	})
}

const deleteEntry = `DELETE FROM entries WHERE id = ? AND state = ?`

// Remove deletes an evicting, detached or failed row, after its image-volume and claim are gone; an
// eviction is counted under its cause, once, with the bytes that the row held; what has no cause was none. Removing what is not there
// is harmless. ErrLost: it is filling or ready.
func (c *Catalog) Remove(ctx context.Context, id EntryID) error {
	return c.write(ctx, fmt.Sprintf("remove entry %s", id), func(t tx) error {
		e, err := scanEntry(t.row(ctx, selectEntry, id))
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		case e.State == Filling || e.State == Ready:
			return fmt.Errorf("%w: it is %s", ErrLost, e.State)
		}
		if e.State == Evicting { // a detached one was found no more long ago
			if err := t.depart(ctx, e); err != nil {
				return err
			}
		}
		if err := t.stillThat(ctx, deleteEntry, id, e.State); err != nil {
			return err
		}
		if e.State == Failed || e.EvictCause == "" { // nobody has evicted it
			return nil
		}
		return t.countEviction(ctx, e)
	})
}

const (
	setPinned   = `UPDATE entries SET pinned = ?, pinned_by_rule = 0 WHERE id = ?`
	pinByRule   = `UPDATE entries SET pinned = 1, pinned_by_rule = 1 WHERE id = ? AND pinned = 0`
	unpinByRule = `UPDATE entries SET pinned = 0, pinned_by_rule = 0 WHERE id = ? AND pinned_by_rule = 1`
)

// SetPinned pins for a person, also what a rule has pinned, or unpins, and returns the entry as that left it. Pinning one that is
// evicting already does not stop that. ErrNotFound.
func (c *Catalog) SetPinned(ctx context.Context, id EntryID, pinned bool) (Entry, error) {
	return c.pin(ctx, id, setPinned, number(pinned), id)
}

// PinByRule is SetPinned for a rule: a pin that is there stays whose it is.
func (c *Catalog) PinByRule(ctx context.Context, id EntryID) (Entry, error) {
	return c.pin(ctx, id, pinByRule, id)
}

// UnpinByRule takes back a rule's pin, never a person's.
func (c *Catalog) UnpinByRule(ctx context.Context, id EntryID) (Entry, error) {
	return c.pin(ctx, id, unpinByRule, id)
}

func (c *Catalog) pin(ctx context.Context, id EntryID, stmt string, args ...any) (Entry, error) {
	var e Entry
	err := c.write(ctx, fmt.Sprintf("pin entry %s", id), func(t tx) (err error) {
		if _, err = t.exec(ctx, stmt, args...); err != nil {
			return err
		}
		e, err = t.entry(ctx, id)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

const setInspected = `UPDATE entries SET inspector_version = ? WHERE id = ? AND state = 'ready'`

// SetInspected notes that a ready entry passed the inspector's rules of a version, and returns it. ErrLost: it is not
// ready any more.
func (c *Catalog) SetInspected(ctx context.Context, id EntryID, version int) (Entry, error) {
	var e Entry
	err := c.write(ctx, fmt.Sprintf("note the inspection of entry %s", id), func(t tx) (err error) {
		if err = t.change(ctx, setInspected, version, id); err != nil {
			return err
		}
		e, err = t.entry(ctx, id)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

const setObserved = `UPDATE entries SET held_bytes = ?, clones = ?
	WHERE id = ? AND state IN ('ready', 'evicting', 'detached') AND (held_bytes <> ? OR clones <> ?)`

// Observation is what a backend says of an entry's image-volume.
type Observation struct {
	ID        EntryID
	HeldBytes int64
	Clones    int // live ones that depend on it
}

// Observe corrects what backends say of entries: held bytes and live clones, all in one transaction. An
// entry that is gone, filling or failed is left as it is.
func (c *Catalog) Observe(ctx context.Context, all []Observation) error {
	return c.write(ctx, fmt.Sprintf("observe %d entries", len(all)), func(t tx) error {
		return t.prepared(ctx, setObserved, func(run func(args ...any) error) error {
			for _, o := range all {
				if err := run(o.HeldBytes, o.Clones, o.ID, o.HeldBytes, o.Clones); err != nil {
					return fmt.Errorf("entry %s: %w", o.ID, err)
				}
			}
			return nil
		})
	})
}

const replaceClaim = `UPDATE entries SET claim = ? WHERE id = ? AND state IN ('ready', 'evicting', 'detached')`

// SetClaim notes the claim of an entry whose own was lost (reconcile). ErrLost: it is gone, filling or failed.
func (c *Catalog) SetClaim(ctx context.Context, id EntryID, claim internaltenant.ClaimID) error {
	return c.write(ctx, fmt.Sprintf("claim of entry %s", id), func(t tx) error {
		return t.change(ctx, replaceClaim, claim, id)
	})
}
