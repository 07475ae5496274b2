package scale

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// hits is how many there are of each kind; the kinds take turns, so that whatever else the machine does
// falls on all of them.
const hits = 1000

// TestAHitCostsTheSameAmongMany makes real clones on XFS, in turns: of the same ten images where there are
// no others and where there are ENTRIES; and of all of them in turn, most of whose files the backend
// has to open again.
func TestAHitCostsTheSameAmongMany(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: measuring is left out")
	}
	n := number(t, "ENTRIES", 1000)
	few, many := newShelf(t, 10), newShelf(t, n)
	var alone, among, all []time.Duration
	for i := range hits {
		alone = append(alone, few.hit(t, i%10))
		among = append(among, many.hit(t, i%10))
		all = append(all, many.hit(t, i*7919%n))
	}
	base := median(alone)
	ratio := float64(median(among)) / float64(base)
	t.Logf("a hit's p50 (of %d): %v among 10 entries; among %d, %v (%.3f) for ten of them, %v (%.3f) for all in turn",
		hits, base, n, median(among), ratio, median(all), float64(median(all))/float64(base))
	if ratio > 1.5 { // the goal is 1.1, on a machine that has nothing else to do
		t.Errorf("a hit among %d entries takes %.2f times that among 10", n, ratio)
	}
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}

// shelf is a directory on XFS with n image-volumes, and a plugin on it.
type shelf struct{ *plugin.Plugin }

func newShelf(t *testing.T, n int) shelf {
	t.Helper()
	dir := fstest.Mount(t, fstest.XFS, 512<<20+int64(n)*32<<10)
	backend, err := file.Open(t.Context(), file.Config{Name: "local", Path: filepath.Join(dir, "volumes")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	held, err := fillBackend(t.Context(), backend, n)
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	newCatalog(t, state, content{n: n, requests: n, heldBytes: held})
	p, err := plugin.Open(t.Context(), plugin.Config{
		StateDir: state, Host: "host", Sources: []imagesource.Source{many{}},
		Backends: []plugin.BackendConfig{{Name: "local", Backend: backend}},
		// The catalog's sums are made up: a minute after the start all would be found damaged, on a machine that takes that long.
		ScrubEvery: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return shelf{p}
}

// hit makes a volume, tells how long that took, and deletes it again.
func (s shelf) hit(t *testing.T, image int) time.Duration {
	t.Helper()
	began := time.Now()
	create(t, s.Plugin, imageID(image), "v", plugin.Hit)
	took := time.Since(began)
	if err := s.DeleteVolume(t.Context(), "local", "v"); err != nil {
		t.Fatal(err)
	}
	return took
}

// fillBackend makes n image-volumes, and tells what each holds.
func fillBackend(ctx context.Context, b backends.Backend, n int) (heldBytes int64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	held := make([]int64, n)
	for i := range n {
		group.Go(func() error {
			iv, err := fillOne(ctx, b, i)
			held[i] = iv.HeldBytes
			return err
		})
	}
	err = group.Wait()
	return held[0], err
}
