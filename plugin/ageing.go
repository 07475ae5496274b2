package plugin

import (
	"context"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// ageEvery is how often it is looked for what was not used for too long, or is over a bound that was lowered.
const ageEvery = 5 * time.Minute

// whose removal it is: a person's, or the daemon's own.
type whose int

const (
	byHand whose = iota + 1
	byItself
)

// age is how long an entry may be unused.
type age struct {
	key    string // of the configuration
	most   time.Duration
	minAge time.Duration
}

// young tells of an entry that is too new to go.
func (a age) young(now time.Time, e catalog.Entry) bool {
	since := now.Sub(e.CreatedAt)
	return since >= 0 && since < a.minAge
}

// ages are those by which a removal goes.
func (l *limits) ages(by whose) []age {
	unused := age{"remove_unused_after", l.removeUnused, l.bounds.MinAge}
	if by == byItself {
		return []age{unused}
	}
	return []age{{key: "max_idle", most: l.maxIdle}, unused}
}

// hurry lets limits that were changed be kept soon.
func (rm *remover) hurry() {
	select {
	case rm.changed <- struct{}{}:
	default:
	}
}

// hurried tells when limits have changed.
func (rm *remover) hurried() <-chan struct{} { return rm.changed }

// keepWithin removes what was not used for longer than remove_unused_after, and what is over a bound that was lowered.
// A store where nothing is due is not asked, and one that does not answer is left for the next time.
func (rm *remover) keepWithin(ctx context.Context) {
	for _, s := range rm.stock.orderedStores() {
		due, err := rm.isDue(ctx, s)
		if err == nil && due {
			r := PruneResult{}
			err = rm.pruneStore(ctx, s, byItself, &r)
			if n := len(r.Removed); n > 0 {
				rm.log.WithFields(map[string]any{"backend": s.name, "entries": n, "bytes": r.FreedBytes}).Info("entries removed that were unused for too long, or over a bound")
			}
		}
		if err != nil && ctx.Err() == nil {
			rm.log.WithField("backend", s.name).WithError(err).Warn("not kept within its limits; trying again")
		}
	}
}

// served tells whether a store is in use, answers, and is surely the one that it is taken for.
func (s *store) served() bool { return s.sure() && s.down() == nil && s.outOfUse() == nil }

// isDue tells whether something may have to go, by the catalog alone.
func (rm *remover) isDue(ctx context.Context, s *store) (bool, error) {
	limit := s.limit()
	if !s.served() {
		return false, nil
	}
	held, err := rm.catalog.Held(ctx)
	if err != nil {
		return false, err
	}
	h, b := held[s.id()], limit.bounds
	if b.MaxBytes > 0 && h.Bytes > b.MaxBytes || b.MaxCount > 0 && h.Entries > b.MaxCount {
		return true, nil
	}
	if limit.removeUnused == 0 {
		return false, nil
	}
	if err := rm.books.flush(ctx); err != nil { // hits count
		return false, err
	}
	ready, err := rm.catalog.List(ctx, catalog.Filter{Store: s.id(), States: []catalog.State{catalog.Ready}})
	return len(lru.Aged(rm.catalogTime(), load(ready, backends.Capacity{}), limit.removeUnused)) > 0, err
}
