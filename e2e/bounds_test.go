package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// Each bound holds by itself and together with the other, and the least recently used entries go.
func TestBoundsEvictTheLeastRecentlyUsed(t *testing.T) {
	for _, c := range []struct {
		name   string
		config harness.Config
		cause  string
	}{
		{"by count alone", harness.Config{MaxCount: 3}, "count"},
		{"by size alone", harness.Config{MaxSize: harness.Size(3*imageSize + imageSize/2)}, "size"},
		{"count is the tighter of both", harness.Config{MaxCount: 3, MaxSize: "1GiB"}, "count"},
		{"size is the tighter of both", harness.Config{MaxCount: 50, MaxSize: harness.Size(3*imageSize + imageSize/2)}, "size"},
	} {
		t.Run(c.name, func(t *testing.T) { checkBound(t, c.config, c.cause) })
	}
}

// checkBound makes entries 1, 2, 3, uses 1 again, and then brings in 4 and 5: 2 and 3 must go.
func checkBound(t *testing.T, c harness.Config, cause string) {
	d := cloning(t, c)
	for n := 1; n <= 5; n++ {
		addImage(t, d, n)
	}
	serial := 0
	request := func(n int, want plugin.Outcome) {
		t.Helper()
		serial++
		got := d.Create(t, harness.Volume{Image: imageRef(n), Name: fmt.Sprintf("v%d", serial)})
		if got.Outcome != want {
			t.Errorf("request %d, for image %d: got %s (%s), want %s", serial, n, got.Outcome, got.Reason, want)
		}
	}
	holds := func(want ...int) {
		t.Helper()
		if got := cached(t, d); !slices.Equal(got, want) {
			t.Errorf("cached images: got %v, want %v", got, want)
		}
	}

	request(1, plugin.Filled)
	request(2, plugin.Filled)
	request(3, plugin.Filled)
	holds(1, 2, 3)
	request(1, plugin.Hit)
	request(4, plugin.Filled)
	holds(1, 3, 4)
	request(5, plugin.Filled)
	holds(1, 4, 5)
	request(1, plugin.Hit)
	request(2, plugin.Filled) // it had gone
	holds(1, 2, 5)

	checkReport(t, d, cause)
	d.Restart(t)
	checkReport(t, d, cause)
	d.Consistent(t)
}

// checkReport compares the report of checkBound's eight requests with what was really done.
func checkReport(t *testing.T, d *harness.Daemon, cause string) {
	t.Helper()
	r := d.Report(t, "--backend", "local")
	if len(r.Backends) != 1 {
		t.Fatalf("backends in the report: got %d, want 1", len(r.Backends))
	}
	var held int64
	for _, e := range d.Entries(t) {
		held += e.HeldBytes
	}
	f := r.Backends[0].Figures
	for _, figure := range []struct {
		name      string
		got, want int64
	}{
		{"hits", f.Hits, 2},
		{"misses", f.Misses, 6},
		{"entries", int64(f.Entries), 3},
		{"held_bytes, by the entries", f.HeldBytes, held},
		{"held_bytes, by the data", f.HeldBytes / imageSize, 3},
		{"evictions", f.Evictions, 3},
		{"evictions by " + cause, f.EvictionsBy[cause], 3},
		{"downloaded_bytes", f.DownloadedBytes, 6 * imageSize},
		{"saved_bytes", f.SavedBytes, 2 * imageSize},
		{"fills", f.Fills, 6},
		{"failed_fills", f.FailedFills, 0},
		{"detached_bytes", f.DetachedBytes, 0},
		{"total hits", r.Total.Hits, 2},
	} {
		if figure.got != figure.want {
			t.Errorf("report: %s: got %d, want %d", figure.name, figure.got, figure.want)
		}
	}
	if want := 2.0 / 8.0; f.HitRatio == nil || *f.HitRatio != want {
		t.Errorf("report: hit_ratio: got %v, want %v", f.HitRatio, want)
	}
}

func imageRef(n int) string { return fmt.Sprintf("library:image-%d.raw", n) }

// cached are the numbers of the images that have entries, in order.
func cached(t *testing.T, d *harness.Daemon) []int {
	t.Helper()
	var numbers []int
	for _, e := range d.Entries(t) {
		var n int
		if _, err := fmt.Sscanf(strings.Join(e.ImageIDs, " "), "library:image-%d.raw", &n); err != nil {
			t.Fatalf("image IDs of entry %s: %q", e.ID, e.ImageIDs)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// An image that alone is over the bound evicts nothing and is copied.
func TestAnImageOverTheBoundEvictsNothing(t *testing.T) {
	d := cloning(t, harness.Config{MaxSize: harness.Size(imageSize * 3 / 2)})
	small, _ := addImage(t, d, 1)
	d.Create(t, harness.Volume{Image: small, Name: "small"})
	disk := d.Config.Images + "/large.raw"
	harness.SmallDisk(t, disk, 9, 3*imageSize, 3*imageSize)

	got := d.Create(t, harness.Volume{Image: "library:large.raw", Name: "large"})
	if got.Outcome != plugin.Copied || got.Reason != plugin.ReasonTooLarge {
		t.Errorf("got %s, %s; want copied, larger_than_cache", got.Outcome, got.Reason)
	}
	harness.SameContent(t, got.Path, disk, 3*imageSize)
	if got := d.Create(t, harness.Volume{Image: small, Name: "again"}); got.Outcome != plugin.Hit {
		t.Errorf("the small image: got %s, want hit", got.Outcome)
	}
	d.Consistent(t)
}

// A pinned entry stays; where nothing else may go, the request is served from the file cache.
func TestAPinnedEntryIsNeverEvicted(t *testing.T) {
	d := cloning(t, harness.Config{MaxCount: 1})
	first, _ := addImage(t, d, 1)
	second, disk := addImage(t, d, 2)
	made := d.Create(t, harness.Volume{Image: first, Name: "a"})
	if r := d.CLI(t, "entry", "pin", made.EntryID); r.Exit != 0 {
		t.Fatalf("pin: exit %d\n%s", r.Exit, r.Stderr)
	}
	got := d.Create(t, harness.Volume{Image: second, Name: "b"})
	if got.Outcome != plugin.Copied || got.Reason != plugin.ReasonNoRoom {
		t.Errorf("got %s, %s; want copied, no_room", got.Outcome, got.Reason)
	}
	harness.SameContent(t, got.Path, disk, imageSize)
	if r := d.CLI(t, "entry", "unpin", made.EntryID); r.Exit != 0 {
		t.Fatalf("unpin: exit %d\n%s", r.Exit, r.Stderr)
	}
	if got := d.Create(t, harness.Volume{Image: second, Name: "c"}); got.Outcome != plugin.Filled {
		t.Errorf("after unpinning: got %s, want filled", got.Outcome)
	}
}

// Lower bounds in the configuration hold after a restart and prune.
func TestPruneBringsTheCacheWithinLoweredBounds(t *testing.T) {
	d := cloning(t, harness.Config{MaxCount: 3})
	for n := 1; n <= 3; n++ {
		ref, _ := addImage(t, d, n)
		d.Create(t, harness.Volume{Image: ref, Name: fmt.Sprintf("v%d", n)})
	}
	d.Stop(t)
	d.Config.MaxCount = 1
	d.Reconfigure(t)
	d.Start(t)
	if r := d.CLI(t, "prune", "-o", "json"); r.Exit != 0 {
		t.Fatalf("prune: exit %d\n%s", r.Exit, r.Stderr)
	}
	if got := cached(t, d); !slices.Equal(got, []int{3}) {
		t.Errorf("cached images: got %v, want [3]", got)
	}
	d.Consistent(t)
}
