package plugin

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// FileCache is a plain file cache; backends/filecache is one.
type FileCache interface {
	backends.Store
	// OpenImage opens a committed image for reading. ErrNotExist.
	OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error)
}

// defaultCloneTime is BackendConfig.CloneTime where none is given.
const defaultCloneTime = 10 * time.Minute

// defaultFileCacheBytes bounds a file cache that is given no bound.
const defaultFileCacheBytes = 10 << 30

// store is one place that holds image-volumes, and what the plugin knows of it. What the configuration says of it never
// changes, but for its limits, and is there for every room to read; all that changes is the stock's alone.
type store struct {
	name       backends.Name
	images     backends.Store
	backend    backends.Backend // nil for a file cache
	cache      FileCache        // nil for a backend
	fallback   *store           // the backend's file cache, or nil
	limits     atomic.Pointer[limits]
	volumeType string        // the volume type that clones here are of; "": any
	cloneTime  time.Duration // what the requester may need for a clone of what is lent
	paused     atomic.Bool   // somebody has put it out of use
	ready      *view
	silence    atomic.Pointer[silence] // nil: it answered when it was last asked
	outsized   outsized
	full       fullness
	looked     looked
	bound      atomic.Pointer[binding]
	marked     atomic.Pointer[backends.StoreID] // as which it was told that it is this catalog's; nil: it was not, or that is settled
	binding    sync.Mutex                       // guards attempt
	attempt    *attempt                         // to bind it; nil: there is none
	// room is held by the one who decides about room and carries the evictions out, so that nobody
	// decides on space that another one is about to use.
	room turnstile
	// reserving is held while a flight takes its row and until it knows the row's ID, so that who holds it can tell which
	// rows are being filled.
	reserving turnstile
	fills     atomic.Int64              // flights to it, and readings for fills, that have not ended: it does not leave before
	unheard   atomic.Int64              // readings of an image's bytes that were given up, and have not come back
	into      atomic.Pointer[slot]      // places of these, once there was one
	leaving   atomic.Pointer[departure] // nil: it is configured
}

// enterRoom waits until nobody else decides about room in the store; free lets the next one in.
func (s *store) enterRoom(ctx context.Context) (free func(), err error) { return s.room.lock(ctx) }

// silence is since when, and why, a store does not answer.
type silence struct {
	since time.Time
	why   string
}

// down is why nothing can be begun here: the store is not open. It is an ErrUnavailable, and costs nothing.
func (s *store) down() error {
	if late, ok := s.images.(backends.Late); ok {
		return late.Down()
	}
	return nil
}

// deadline is the earlier one of a request's own and what the store allows from its beginning.
func (s *store) deadline(begun, own time.Time) time.Time {
	timeout := s.limit().timeout
	if most := begun.Add(timeout); timeout > 0 && (own.IsZero() || most.Before(own)) {
		return most
	}
	return own
}

// charged tells whether image-volumes here count against the internal tenant's quota.
func (s *store) charged() bool { return s.backend != nil }

// with is the set with more stores, which are configured in it, and these. ErrBadRequest.
func (set *storeSet) with(more []BackendConfig, caches []FileCacheConfig) (*storeSet, error) {
	next := set.copied()
	if next.byName == nil {
		next.byName = make(map[backends.Name]*store)
	}
	for _, c := range caches {
		if err := next.add(&store{name: c.Name, images: c.Cache, cache: c.Cache}, limitsOfCache(c)); err != nil {
			return nil, err
		}
	}
	for _, c := range more {
		s := &store{name: c.Name, images: c.Backend, backend: c.Backend, volumeType: c.VolumeType, cloneTime: cmp.Or(c.CloneTime, defaultCloneTime)}
		own, err := limitsOf(c)
		if err != nil {
			return nil, err
		}
		if s.fallback, err = next.fallbackOf(c); err != nil {
			return nil, err
		}
		if err := next.add(s, own); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// fallbackOf is the file cache that a backend falls back on, or nil. ErrBadRequest.
func (set *storeSet) fallbackOf(c BackendConfig) (*store, error) {
	if c.Fallback == "" {
		return nil, nil //nolint:nilnil // most have none
	}
	s, ok := set.byName[c.Fallback]
	if !ok || s.cache == nil {
		return nil, fmt.Errorf("%w: backend %q: fallback %q is not a file cache", ErrBadRequest, c.Name, c.Fallback)
	}
	return s, nil
}

// add configures a store in a set that nobody has seen yet. ErrBadRequest.
func (set *storeSet) add(s *store, l *limits) error {
	if s.name == "" || s.images == nil {
		return fmt.Errorf("%w: a backend needs a name and an opened backend", ErrBadRequest)
	}
	if _, taken := set.byName[s.name]; taken {
		return fmt.Errorf("%w: two backends or file caches are named %q", ErrBadRequest, s.name)
	}
	s.limits.Store(l)
	s.ready, s.room, s.reserving = newView(), make(turnstile, 1), make(turnstile, 1)
	set.configure(s)
	return nil
}

// turnstile lets one at a time through. It is a channel of capacity 1, so that who waits can give up.
type turnstile chan struct{}

// lock waits for its turn. The error is ctx's.
func (t turnstile) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
