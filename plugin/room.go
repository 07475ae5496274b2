package plugin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// makeRoom grows the berth to bytes. Victims are decided in one transaction and are gone
// from the backend before it returns, so that what is held never exceeds the bounds. One fill at a time
// does this per store. lru.ErrTooLarge, lru.ErrNoRoom, errWouldEvict: nothing was evicted.
func (b *berth) makeRoom(ctx context.Context, bytes int64, may eviction) error {
	leave, err := b.store.enterRoom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	victims, err := b.victims(ctx, bytes, may)
	if err != nil {
		return err
	}
	b.bytes, b.made = bytes, true
	for _, v := range victims {
		if err := b.k.finishEvictionFor(ctx, b.store, v, b.image); err != nil {
			return fmt.Errorf("evict %s from %s: %w", v.ID, b.store.name, err)
		}
	}
	return nil
}

// victims reserves, and says who goes for that. Where live clones decide, they are counted first.
func (b *berth) victims(ctx context.Context, bytes int64, may eviction) ([]catalog.Entry, error) {
	if err := b.k.books.flush(ctx); err != nil { // last-used decides
		return nil, err
	}
	capacity, err := b.store.capacity(ctx)
	if err != nil {
		return nil, err
	}
	ask := roomAsked{bytes: bytes, may: may, capacity: capacity, clones: believed}
	victims, err := b.decide(ctx, ask)
	if !errors.Is(err, errInUse) {
		return victims, err
	}
	if err := b.k.observeClones(ctx, b.store); err != nil {
		return nil, err
	}
	ask.clones = seen
	return b.decide(ctx, ask)
}

// eviction tells whether others may go for a reservation.
type eviction int

const (
	evicting    eviction = iota + 1
	evictNobody          // errWouldEvict instead
	evictLater           // errWouldFit instead: nothing is reserved
)

// errWouldEvict: there is room only where somebody goes.
var errWouldEvict = errors.New("others would have to go")

// errWouldFit: there is room, or would be once others have gone.
var errWouldFit = errors.New("it would fit")

// wouldFit asks whether there would be room for bytes, if whoever may go went. Nothing is reserved, and nobody goes.
// lru.ErrTooLarge, lru.ErrNoRoom.
func (b *berth) wouldFit(ctx context.Context, bytes int64) error {
	leave, err := b.store.enterRoom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if _, err := b.victims(ctx, bytes, evictLater); !errors.Is(err, errWouldFit) {
		return err
	}
	return nil
}

// roomAsked is what a fill asks for.
type roomAsked struct {
	bytes    int64
	may      eviction
	capacity backends.Capacity
	clones   trust
}

// trust is how far the catalog's numbers of live clones are relied on. It hears of clones that are made,
// not of those that are deleted.
type trust int

const (
	believed trust = iota + 1
	seen           // the backend was asked just now
)

// errInUse: the decision depends on clones that may be gone by now; they are counted anew, and it is made again.
var errInUse = errors.New("live clones decide")

// decide lets the policy choose who goes, in one transaction with the reservation. errInUse, errWouldEvict.
func (b *berth) decide(ctx context.Context, ask roomAsked) ([]catalog.Entry, error) {
	defer b.store.changing()()
	return b.k.catalog.ReserveRoom(ctx, b.entry.ID, b.entry.Attempt, ask.bytes, func(h catalog.Holdings) (map[catalog.EntryID]catalog.EvictCause, error) {
		plan, err := lru.Plan(b.k.catalogTime(), lru.Need{Bytes: ask.bytes, Count: 1}, inventory(ctx, h, ask.capacity), b.store.limit().bounds)
		if ask.may == evictNobody && (err != nil || len(plan) > 0) {
			return nil, errWouldEvict
		}
		if ask.clones == believed && (keptInUse(err) || slices.ContainsFunc(plan, inUse)) {
			return nil, errInUse
		}
		if err != nil {
			return nil, fmt.Errorf("room for %s in %s: %w", b.image, b.store.name, err)
		}
		if ask.may == evictLater {
			return nil, errWouldFit
		}
		for _, v := range plan {
			b.store.ready.remove(catalog.EntryID(v.ID))
		}
		return causes(plan), nil
	})
}

// keptInUse tells whether there is no room because entries with live clones stay.
func keptInUse(err error) bool {
	var short *lru.Shortage
	return errors.As(err, &short) && short.Kept.InUse > 0
}

func inUse(v lru.Victim) bool { return v.InUse }

// observeClones corrects what the catalog believes of live clones and held bytes, where clones depend on
// their image-volume. It costs a listing of the store.
func (k *stock) observeClones(ctx context.Context, s *store) error {
	if s.images.Info().IndependentClones {
		return nil
	}
	rows, err := k.catalog.List(ctx, catalog.Filter{Store: s.id(), States: []catalog.State{catalog.Ready}})
	if err != nil {
		return err
	}
	held, err := listStore(ctx, s)
	if err != nil {
		return err
	}
	var differ []catalog.Observation
	for _, e := range rows {
		iv, there := held.read[e.ImageVolume]
		if there && iv.State != backends.Staged && (iv.Clones != e.Clones || iv.HeldBytes != e.HeldBytes) {
			differ = append(differ, catalog.Observation{ID: e.ID, HeldBytes: iv.HeldBytes, Clones: iv.Clones})
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return k.catalog.Observe(ctx, differ)
}

// capacity is asked only where a bound needs it: it may be a call over the network.
func (s *store) capacity(ctx context.Context) (backends.Capacity, error) {
	if s.limit().bounds.MaxPercent == 0 {
		return backends.Capacity{}, nil
	}
	return s.images.Capacity(ctx)
}

// inventory is what counts against the bounds, read as far as the policy asks. Deciding about room is
// serialised with the evictions that follow, so an entry that is evicting here is one that could not be
// removed: its bytes are still held and count, and it cannot go twice.
func inventory(ctx context.Context, h catalog.Holdings, c backends.Capacity) lru.Stock {
	return lru.Stock{
		Sums: roomSums(h.Totals, c),
		Young: func(after, until time.Time) (lru.Young, error) {
			made, err := h.Made(ctx, after, until)
			s := roomSums(made, c)
			return lru.Young{InUse: s.InUse, Idle: s.Idle}, err
		},
		Line: func(class lru.Class) iter.Seq2[lru.Entry, error] {
			line := h.Line(ctx, catalog.Line{InUse: class.Use == lru.InUse, Superseded: class.Superseded, MinHits: class.MinHits, BelowHits: class.BelowHits})
			return func(yield func(lru.Entry, error) bool) {
				for e, err := range line {
					if !yield(policyEntry(e), err) {
						return
					}
				}
			}
		},
	}
}

// roomSums puts totals into the policy's groups.
func roomSums(totals []catalog.Total, c backends.Capacity) lru.Sums {
	s := lru.Sums{CapacityBytes: c.TotalBytes}
	for _, t := range totals {
		group := &s.Idle
		switch {
		case t.State == catalog.Detached:
			s.DetachedBytes += t.HeldBytes
			continue
		case t.State == catalog.Failed:
			continue
		case t.State == catalog.Filling:
			group = &s.Filling
		case t.Pinned || t.State == catalog.Evicting:
			group = &s.Pinned
		case t.InUse:
			group = &s.InUse
		}
		group.Count, group.Bytes = group.Count+t.Entries, group.Bytes+t.CountedBytes
	}
	return s
}

// load is the same of all entries of a store, for bounds that were lowered.
func load(entries []catalog.Entry, c backends.Capacity) lru.Load {
	l := lru.Load{CapacityBytes: c.TotalBytes, Entries: make([]lru.Entry, 0, len(entries))}
	for _, e := range entries {
		switch e.State {
		case catalog.Detached:
			l.DetachedBytes += e.HeldBytes
		case catalog.Filling, catalog.Ready, catalog.Evicting:
			l.Entries = append(l.Entries, policyEntry(e))
		case catalog.Failed:
		}
	}
	return l
}

func policyEntry(e catalog.Entry) lru.Entry {
	return lru.Entry{
		ID: string(e.ID), Bytes: e.CountedBytes(), LastUsed: e.LastUsedAt, Created: e.CreatedAt, Clones: e.Clones,
		Pinned: e.Pinned || e.State == catalog.Evicting, Filling: e.State == catalog.Filling, Superseded: !e.SupersededAt.IsZero(), Hits: e.Hits,
	}
}

func causes(plan []lru.Victim) map[catalog.EntryID]catalog.EvictCause {
	out := make(map[catalog.EntryID]catalog.EvictCause, len(plan))
	for _, v := range plan {
		out[catalog.EntryID(v.ID)] = catalog.EvictCause(v.Cause)
	}
	return out
}
