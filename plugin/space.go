package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// A store may be full before any bound is reached, since others use it too. What it refuses for that is
// tried once more after idle entries have gone. They go in vain where their blocks are shared with
// volumes, or where the store notices late: then no more go for a while.

const (
	// spaceRest is how long nobody goes for space after it was in vain.
	spaceRest = time.Minute
	// spaceStep is the least that goes at once, in bytes: else each write would wait for an eviction.
	spaceStep = 16 << 20
)

// fullness is what is known of a store being full. The zero value is ready.
type fullness struct {
	mu    sync.Mutex
	times int       // how often entries went
	rest  time.Time // nobody goes before
}

// state is how often entries have gone by now, and until when nobody goes.
func (f *fullness) state() (times int, rest time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.times, f.rest
}

func (f *fullness) went() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times++
}

func (f *fullness) inVain(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rest = now.Add(spaceRest)
}

// spaceWanted is what is to be made room for on a full store.
type spaceWanted struct {
	bytes int64
	but   catalog.EntryID // stays: it is what is needed
}

// besides is the store where it lies on the same filesystem as another one, else nil: then what is in it
// takes none of the other one's space.
func (s *store) besides(other *store) *store {
	device := func(s *store) (uint64, bool) {
		info, err := os.Stat(s.images.Info().Location)
		if err != nil {
			return 0, false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		return uint64(st.Dev), ok
	}
	mine, known := device(s)
	theirs, same := device(other)
	if !known || !same || mine != theirs {
		return nil
	}
	return s
}

// withSpace does what needs space in a store. Where that is full, idle entries go, and it is done once more.
// It costs nothing where the store is not full. Without a store it is just done.
func (k *stock) withSpace(ctx context.Context, s *store, want spaceWanted, do func() error) error {
	if s == nil {
		return do()
	}
	times, _ := s.full.state()
	err := do()
	if !errors.Is(err, backends.ErrNoSpace) {
		return err
	}
	made, evictErr := k.makeSpace(ctx, s, want, times)
	if evictErr != nil || !made {
		return errors.Join(err, evictErr)
	}
	if err = do(); errors.Is(err, backends.ErrNoSpace) {
		s.full.inVain(k.now())
		err = fmt.Errorf("%w (idle entries were evicted, and that was not enough)", err)
	}
	return err
}

// makeSpace evicts idle entries that hold so many bytes together, if somebody else has not done so since
// they had gone so many times; false where nobody could go.
func (k *stock) makeSpace(ctx context.Context, s *store, want spaceWanted, times int) (bool, error) {
	free, err := s.enterRoom(ctx)
	if err != nil {
		return false, err
	}
	defer free()
	switch now, rest := s.full.state(); {
	case now != times:
		return true, nil
	case k.now().Before(rest):
		return false, nil
	}
	victims, err := k.spaceVictims(ctx, s, want)
	if err != nil || len(victims) == 0 {
		return false, err
	}
	for _, v := range victims {
		if _, err := k.evict(ctx, s, v.ID, catalog.CauseFull); err != nil && !isGone(err) && !errors.Is(err, catalog.ErrPinned) {
			return false, err
		}
	}
	s.full.went()
	return true, nil
}

// spaceVictims are the least recently used idle entries, until they hold what is wanted, or all.
func (k *stock) spaceVictims(ctx context.Context, s *store, want spaceWanted) ([]catalog.Entry, error) {
	if err := k.books.flush(ctx); err != nil { // last-used decides
		return nil, err
	}
	const most = 1000
	idle, err := k.catalog.Idle(ctx, s.id(), most)
	if err != nil {
		return nil, err
	}
	var victims []catalog.Entry
	left := max(want.bytes, spaceStep)
	for _, e := range idle {
		if left <= 0 {
			break
		}
		if e.ID != want.but && !s.tooYoung(e, k.catalogTime()) {
			victims, left = append(victims, e), left-e.HeldBytes
		}
	}
	return victims, nil
}
