package plugin

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// The catalog hears of clones that are made, not of those that their owners delete: what it counts is too
// high until the backend is asked. It is asked before a count decides or is shown, and from time to time. It
// never is when a request is served.

const (
	// freshClones is how long a count that was observed is taken for true where it is shown.
	freshClones = 5 * time.Second
	// mostLooks bounds how many image-volumes are looked at for one listing, lookFor the time that it takes.
	mostLooks = 500
	lookFor   = 2 * time.Second
	// looksAtOnce is how many are looked at at the same time.
	looksAtOnce = 8
)

// looked remembers when live clones were observed. The zero value is ready.
type looked struct {
	mu   sync.Mutex
	at   map[catalog.EntryID]time.Time
	next catalog.EntryID // of those that are looked at from time to time, the first after it comes next
}

// due tells whether an entry was not looked at lately.
func (l *looked) due(id catalog.EntryID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.at[id]) >= freshClones
}

func (l *looked) note(all []catalog.Observation, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil || len(l.at) > 20*mostLooks {
		l.at = make(map[catalog.EntryID]time.Time)
	}
	for _, o := range all {
		l.at[o.ID] = now
	}
}

// turn is where the next round begins, and whence the one after that.
func (l *looked) turn(then func(after catalog.EntryID) catalog.EntryID) {
	l.mu.Lock()
	after := l.next
	l.mu.Unlock()
	next := then(after)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = next
}

// freshen brings the live clones of entries that are about to be shown up to date, here and in the catalog:
// of those that the catalog believes in use, and no more than can be looked at in a moment. A backend that
// does not answer leaves them as they are. It tells whether one has other clones than the catalog believed.
func (k *stock) freshen(ctx context.Context, entries []catalog.Entry) (changed bool) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	due := make(map[*store][]catalog.Entry)
	left := mostLooks
	for _, e := range entries {
		s := k.storeOf(e.Store)
		if s == nil || left == 0 || !s.mayBeStale(e) || !s.looked.due(e.ID, k.now()) {
			continue
		}
		due[s] = append(due[s], e)
		left--
	}
	seen := make(map[catalog.EntryID]int)
	for s, some := range due {
		for _, o := range k.lookAt(ctx, s, some) {
			seen[o.ID] = o.Clones
		}
	}
	for i := range entries {
		if n, ok := seen[entries[i].ID]; ok {
			changed = changed || entries[i].Clones != n
			entries[i].Clones = n
		}
	}
	return changed
}

// mayBeStale tells whether an entry's live clones may have gone unheard.
func (s *store) mayBeStale(e catalog.Entry) bool {
	return e.Clones > 0 && (e.State == catalog.Ready || e.State == catalog.Detached) && !s.images.Info().IndependentClones
}

// lookAt observes some entries, notes that, and returns what was observed. What could not be looked at in
// time is not in it.
func (k *stock) lookAt(ctx context.Context, s *store, some []catalog.Entry) []catalog.Observation {
	var mu sync.Mutex
	var all []catalog.Observation
	look := s.lookAtOne(ctx)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(looksAtOnce)
	for _, e := range some {
		group.Go(func() error {
			iv, err := look(gctx, e.ImageVolume)
			if err != nil {
				if errors.Is(err, backends.ErrUnavailable) {
					return err // nor will it answer for the others
				}
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, catalog.Observation{ID: e.ID, HeldBytes: e.HeldBytes, Clones: iv.Clones})
			return nil
		})
	}
	err := group.Wait()
	if len(all) > 0 {
		err = errors.Join(err, k.catalog.Observe(context.WithoutCancel(ctx), all))
	}
	if err != nil {
		k.log.WithField("backend", s.name).WithError(err).Debug("live clones not brought up to date")
	}
	s.looked.note(all, k.now())
	return all
}

// lookAtOne is how one image-volume is looked at: by itself where the store can do that, else in a listing
// of all.
func (s *store) lookAtOne(ctx context.Context) func(context.Context, backends.ImageVolumeID) (backends.ImageVolume, error) {
	if looker, ok := backends.Capability[backends.ImageVolumeStater](s.images); ok {
		return looker.StatImageVolume
	}
	list := sync.OnceValues(func() (listing, error) { return listStore(ctx, s) })
	return func(_ context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
		all, err := list()
		if err != nil {
			return backends.ImageVolume{}, err
		}
		if iv, there := all.read[id]; there {
			return iv, nil
		}
		return backends.ImageVolume{}, backends.ErrNotExist
	}
}

// lookAround observes some entries that the catalog believes in use, the next ones each time.
func (k *stock) lookAround(ctx context.Context, s *store) {
	if s.images.Info().IndependentClones || !s.sure() {
		return
	}
	s.looked.turn(func(after catalog.EntryID) catalog.EntryID {
		some, err := k.catalog.List(ctx, catalog.Filter{Store: s.id(), InUse: true, After: catalog.ListPlace{ID: after}, Limit: mostLooks})
		if err != nil {
			k.log.WithField("backend", s.name).WithError(err).Debug("entries in use not listed")
			return after
		}
		k.lookAt(ctx, s, some)
		if len(some) < mostLooks {
			return ""
		}
		return some[len(some)-1].ID
	})
}
