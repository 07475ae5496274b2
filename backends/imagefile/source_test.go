package imagefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	base := t.TempDir()
	c := Config{Dir: filepath.Join(base, "images"), Staging: filepath.Join(base, "staging"), Now: time.Now}
	c.Stamps.Side = filepath.Join(base, "stamps")
	for _, dir := range []string{c.Dir, c.Staging, c.Stamps.Side} {
		must(t, os.Mkdir(dir, 0o700))
	}
	var err error
	c.Features, err = rawfile.Probe(base)
	must(t, err)
	c.Stamps.Xattrs = c.Features.Xattrs
	s, err := Open(c)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func commit(t *testing.T, s *Store, id backends.ImageVolumeID) {
	t.Helper()
	st, err := s.Stage(t.Context(), backends.StageSpec{ID: id, VirtualBytes: 4096})
	must(t, err)
	_, err = st.Commit(t.Context(), backends.Description{})
	must(t, err)
}

func TestASourceIsOpenedOnce(t *testing.T) {
	s := newStore(t)
	commit(t, s, "e-1")
	first, err := s.Source("e-1")
	must(t, err)
	first.Release()
	second, err := s.Source("e-1")
	must(t, err)
	defer second.Release()
	if first != second {
		t.Error("the second use opened the file again")
	}
}

func TestARetiredSourceIsNotFound(t *testing.T) {
	s := newStore(t)
	commit(t, s, "e-1")
	used, err := s.Source("e-1")
	must(t, err)
	_, err = s.Retire(t.Context(), "e-1")
	must(t, err)
	if _, err := s.Source("e-1"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, backends.ErrNotExist)
	}
	if _, err := used.File.ReadAt(make([]byte, 1), 0); err != nil {
		t.Errorf("who uses it cannot read it any more: %v", err)
	}
	used.Release()
	if err := used.File.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("its file stayed open: %v", err)
	}
}

func TestASourceThatSomebodyRemovedIsNotFound(t *testing.T) {
	s := newStore(t)
	commit(t, s, "e-1")
	used, err := s.Source("e-1")
	must(t, err)
	used.Release()
	must(t, os.Remove(s.place.Path("e-1")))
	if _, err := s.Source("e-1"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, backends.ErrNotExist)
	}
}

func TestSourcesOpenAreBounded(t *testing.T) {
	s := newStore(t)
	for i := range 2 * maxSources {
		id := backends.ImageVolumeID(fmt.Sprintf("e-%d", i))
		commit(t, s, id)
		source, err := s.Source(id)
		must(t, err)
		source.Release()
	}
	if got := len(s.sources.open); got != maxSources {
		t.Errorf("%d are open, want %d", got, maxSources)
	}
}

// However Source and Retire meet: nothing is found by an ID once its Retire has returned.
func TestSourcesAndRetiresMeet(t *testing.T) {
	s := newStore(t)
	for i := range 50 {
		id := backends.ImageVolumeID(fmt.Sprintf("e-%d", i))
		commit(t, s, id)
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				if source, err := s.Source(id); err == nil {
					source.Release()
				} else if !errors.Is(err, backends.ErrNotExist) {
					t.Error(err)
				}
			})
		}
		running.Go(func() {
			if _, err := s.Retire(t.Context(), id); err != nil {
				t.Error(err)
			}
			if _, err := s.Source(id); !errors.Is(err, backends.ErrNotExist) {
				t.Errorf("after Retire: got error %v, want %v", err, backends.ErrNotExist)
			}
		})
		running.Wait()
	}
	if got := len(s.sources.open); got != 0 {
		t.Errorf("%d files of retired image-volumes are open", got)
	}
}

// A damaged record is reported with its ID, and the rest is listed; a file without one is not ours.
func TestAListingGoesOnAfterDamage(t *testing.T) {
	s := newStore(t)
	commit(t, s, "good-1")
	commit(t, s, "damaged-1")
	f, _, err := s.place.Open("damaged-1")
	must(t, err)
	must(t, s.place.Stamps().Set(f, []byte("{")))
	must(t, f.Close())
	must(t, os.WriteFile(s.place.Path("foreign-1"), nil, 0o600))
	got := map[backends.ImageVolumeID]error{}
	for v, err := range s.List(t.Context()) {
		got[v.ID] = err
	}
	if len(got) != 3 || got["good-1"] != nil || got["damaged-1"] == nil || !errors.Is(got["foreign-1"], backends.ErrNotOurs) {
		t.Errorf("got %v", got)
	}
	if _, err := s.Retire(t.Context(), "foreign-1"); !errors.Is(err, backends.ErrNotOurs) {
		t.Errorf("retire a foreign file: got error %v, want %v", err, backends.ErrNotOurs)
	}
	if _, err := s.Retire(t.Context(), "damaged-1"); err != nil {
		t.Errorf("retire a damaged one: %v", err)
	}
}

func TestIDsThatAreNoFileNamesAreRefused(t *testing.T) {
	s := newStore(t)
	for _, id := range []backends.ImageVolumeID{"", ".", "..", "a/b", "../x", "ü", "a b", "a\x00"} {
		if _, err := s.Stage(t.Context(), backends.StageSpec{ID: id, VirtualBytes: 1}); !errors.Is(err, backends.ErrBadName) {
			t.Errorf("stage %q: got error %v, want %v", id, err, backends.ErrBadName)
		}
		if _, err := s.Retire(t.Context(), id); !errors.Is(err, backends.ErrBadName) {
			t.Errorf("retire %q: got error %v, want %v", id, err, backends.ErrBadName)
		}
	}
}
