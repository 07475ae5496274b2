package plugin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// usedWhile is how much more of a filesystem was used, at most, while do ran.
func usedWhile(t *testing.T, dir string, do func()) int64 {
	t.Helper()
	used := func() int64 {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			t.Error(err)
		}
		return int64(s.Blocks-s.Bfree) * s.Bsize
	}
	fstest.Sync(t, dir)
	before := used()
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		often := time.NewTicker(time.Millisecond)
		defer often.Stop()
		for {
			select {
			case <-stop:
				return
			case <-often.C:
				most.Store(max(most.Load(), used()-before))
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	return most.Load()
}

// scattered makes a qcow2 image of so many clusters of 512 bytes, 16 KiB apart.
func scattered(t *testing.T, path string, n int) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	sparseFile(t, raw, int64(n)*(16<<10), n, 512)
	out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-S", "512", "-o", "cluster_size=512", raw, path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// sparseFile makes a file with n pieces of data, evenly apart, and holes between them.
func sparseFile(t *testing.T, path string, size int64, n, piece int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range n {
		if _, err := f.WriteAt(random(piece), size/int64(n)*int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// elsewhere keeps what is not the store's out of its filesystem.
func elsewhere(t *testing.T) option {
	return func(c *plugin.Config) { c.StateDir = filepath.Join(t.TempDir(), "state") }
}

// What is counted is what is held: an image whose little pieces lie far apart takes a block for each.
func TestScatteredPiecesHoldNoMoreThanTheBound(t *testing.T) {
	const bound = 8 * mib
	for name, c := range map[string]struct {
		pieces  int
		options []option
	}{
		"on the backend, over the bound": {3000, []option{func(c *plugin.Config) { c.Backends[0].Fallback = ""; c.FileCaches = nil }}},
		"on the backend, just within":    {1900, nil},
		"in the file cache over the bound": {3000, []option{func(c *plugin.Config) {
			c.FileCaches[0].Bounds.MaxBytes, c.Backends[0].Bounds.MaxBytes = bound, 64<<10
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fstest.Mount(t, fstest.XFS, 512*mib)
			r := newRig(t, dir, lru.Bounds{MaxBytes: bound}, append(c.options, elsewhere(t))...)
			scattered(t, filepath.Join(dir, "images", "small.qcow2"), c.pieces)
			var a plugin.Answer
			most := usedWhile(t, dir, func() { a = r.create(t, "library:small.qcow2", "v", 0) })
			if most > bound+128<<10 { // the inodes
				t.Errorf("%d KiB were used, max_size is %d KiB", most>>10, bound>>10)
			}
			t.Logf("%s (%s): %d KiB were used", a.Outcome, a.Reason, most>>10)
			if fits := c.pieces < 2000; fits != (a.Outcome == plugin.Filled) {
				t.Errorf("got %s, %s", a.Outcome, a.Detail)
			}
			checkClean(t, r)
		})
	}
}

// A sparse raw image takes the room that its data needs, wherever it comes from.
func TestASparseRawImageEvictsOnlyWhatItsDataNeeds(t *testing.T) {
	for _, from := range []string{"library", "web"} {
		for _, c := range []struct {
			name  string
			data  int // MiB
			stays bool
		}{{"there is room", 2, true}, {"somebody has to go", 3, false}} {
			t.Run(from+"/"+c.name, func(t *testing.T) {
				dir := fstest.Mount(t, fstest.XFS, 512*mib)
				web := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "images"))))
				defer web.Close()
				source, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: web.URL + "/"})
				if err != nil {
					t.Fatal(err)
				}
				r := newRig(t, dir, lru.Bounds{MaxBytes: 9 * mib / 2}, withSource(source), elsewhere(t))
				fillSeveral(t, r, 2) // 1 MiB of data each
				sparseFile(t, filepath.Join(dir, "images", "large.raw"), 64*mib, c.data, mib)
				if a := r.create(t, from+":large.raw", "v-large", 0); a.Outcome != plugin.Filled {
					t.Fatalf("got %+v, want filled", a)
				}
				got := cached(t, r)
				if got["library:disk0.raw"] != c.stays || !got["library:disk1.raw"] {
					t.Errorf("cached: %v; want disk0 to stay: %t, and disk1", got, c.stays)
				}
				checkClean(t, r)
			})
		}
	}
}

// Where nobody knows how much of an image is data, that is found out once.
// countingWriter counts the pieces of an answer.
type countingWriter struct {
	http.ResponseWriter
	pieces *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	w.pieces.Add(1)
	return w.ResponseWriter.Write(p)
}

func TestAnImageThatTurnsOutToBeOverTheBoundIsReadOnce(t *testing.T) {
	dir := fstest.Mount(t, fstest.XFS, 512*mib)
	var read atomic.Int64 // pieces that were sent
	files := http.FileServer(http.Dir(filepath.Join(dir, "images")))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files.ServeHTTP(countingWriter{w, &read}, r)
	}))
	defer web.Close()
	source, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: web.URL + "/"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, dir, lru.Bounds{MaxBytes: 8 * mib}, withSource(source), elsewhere(t), func(c *plugin.Config) { c.Backends[0].Fallback = "" })
	sparseFile(t, filepath.Join(dir, "images", "large.raw"), 32*mib, 32, mib)
	for i, name := range []string{"first", "second"} {
		if read.Store(0); i == 1 {
			fillSeveral(t, r, 5)
		}
		a := r.create(t, "web:large.raw", name, 0)
		if a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonTooLarge {
			t.Fatalf("%s: got %+v, want bypassed: larger_than_cache", name, a)
		}
		if got := read.Load(); i == 1 && got > 600 {
			t.Errorf("the second request read %d pieces of it", got)
		}
	}
	if got := len(cached(t, r)); got != 5 {
		t.Errorf("%d of 5 are left after the second request, want all", got)
	}
	checkClean(t, r)
}

// What is allocated is what filling and checking cost: disks of any size that are nearly empty take no time.
func TestHugeEmptyDisksTakeNoTime(t *testing.T) {
	dir := fstest.Mount(t, fstest.XFS, 512*mib)
	r := newRig(t, dir, lru.Bounds{}, elsewhere(t))
	image := filepath.Join(dir, "images", "huge.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-f", "qcow2", image, "4T").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("qemu-io", "-c", "write 3T 1M", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, err := r.CreateVolume(ctx, plugin.Request{Image: "library:huge.qcow2", Volume: "v"})
	if err != nil || a.Outcome != plugin.Filled {
		t.Fatalf("got %+v, %v", a, err)
	}
	got, err := r.Check(ctx, plugin.CheckOptions{Deep: true})
	if err != nil || !got.OK {
		t.Errorf("check: %+v, %v", got, err)
	}
}
