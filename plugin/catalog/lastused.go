package catalog

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// latest is the latest last-used time in the catalog, in microseconds since 1970 UTC, as far as this
// process knows: of what was there when it first asked, and of its own uses since. 0: not asked yet.
//
// Where it lies in the future the clock has stepped back (or that of a host is ahead). Then what is used
// from now on follows it in steps of a microsecond, until the clock has caught up: else everything new
// would look least recently used, and go first.
type latest struct{ us atomic.Int64 }

const selectLatest = `SELECT COALESCE(MAX(last_used_at), 0) FROM entries`

// latest is the catalog's, asked for where that was not done yet.
func (t tx) latest(ctx context.Context) (int64, error) {
	if us := t.c.latest.us.Load(); us > 0 {
		return us, nil
	}
	var us int64
	if err := t.row(ctx, selectLatest).Scan(&us); err != nil {
		return 0, err
	}
	t.c.latest.raise(us)
	return us, nil
}

// raise makes it at least us. A transaction that comes to nothing leaves it too high by the
// microseconds that it used up.
func (l *latest) raise(us int64) {
	for {
		old := l.us.Load()
		if us <= old || l.us.CompareAndSwap(old, us) {
			return
		}
	}
}

// usedNow is the last-used time of an entry that becomes ready now.
func (t tx) usedNow(ctx context.Context, now time.Time) (time.Time, error) {
	last, err := t.latest(ctx)
	if err != nil {
		return time.Time{}, err
	}
	at := max(micros(now), 1)
	if last > at {
		at = last + 1
	}
	t.c.latest.raise(at)
	return fromMicros(at), nil
}

// liftUses moves uses behind the latest one where that lies in the future, in their own order.
func (t tx) liftUses(ctx context.Context, uses map[EntryID]use, now time.Time) error {
	last, err := t.latest(ctx)
	if err != nil {
		return err
	}
	ahead := last > micros(now)
	inOrder := slices.SortedFunc(maps.Keys(uses), func(a, b EntryID) int {
		return cmp.Or(uses[a].last.Compare(uses[b].last), cmp.Compare(a, b))
	})
	for _, id := range inOrder {
		u := uses[id]
		if ahead && micros(u.last) < last {
			u.last = fromMicros(last + 1)
			uses[id] = u
		}
		last = max(last, micros(u.last))
	}
	t.c.latest.raise(last)
	return nil
}
