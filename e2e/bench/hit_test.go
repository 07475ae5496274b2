package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// hits is how many volumes one turn makes.
const hits = 400

// BenchmarkHit compares hits in the library with a loop of FICLONE and fsync on the same source, and
// hits over the socket with those in the library.
func BenchmarkHit(b *testing.B) {
	for b.Loop() {
		dir := mount(b, 2*gib)
		images := b.TempDir()
		harness.SmallDisk(b, filepath.Join(images, "disk.raw"), 1, 256*mib, 64*mib)
		cache := embed(b, filepath.Join(dir, "library"), images)
		source := imageVolume(b, cache, filepath.Join(dir, "library"))
		for _, workers := range []int{1, 8} {
			took := alternate(
				func(round int) time.Duration {
					return volumes(b, filepath.Join(dir, "bare"), workers, round, func(name string) error { return reflink(source, name) })
				},
				func(round int) time.Duration {
					return volumes(b, filepath.Join(dir, "library"), workers, round, func(name string) error {
						_, err := cache.CreateVolume(b.Context(), plugin.Request{Image: "library:disk.raw", Volume: backends.VolumeName(filepath.Base(name))})
						return err
					})
				})
			atLeast(b, fmt.Sprintf("hit: rate to FICLONE+fsync, %d at once", workers), ratio(took[0], took[1]), 0.9,
				fmt.Sprintf("%.0f/s to %.0f/s", perSecond(took[1]), perSecond(took[0])))
		}
		socket(b, dir, images, cache)
	}
}

func perSecond(took time.Duration) float64 { return hits / took.Seconds() }

// socket compares the median hit over the daemon's socket with the one in the library.
func socket(b *testing.B, dir, images string, cache *plugin.Plugin) {
	d := daemon(b, harness.Config{Volumes: filepath.Join(dir, "daemon"), Images: images})
	client := d.Client(b)
	one := func(prefix string, create func(name backends.VolumeName) error) contestant {
		return func(round int) time.Duration {
			var each []time.Duration
			for n := range hits {
				name := backends.VolumeName(fmt.Sprintf("%s-%d-%d", prefix, round, n))
				each = append(each, timed(func() { check(b, create(name)) }))
			}
			return median(each)
		}
	}
	took := alternate(
		one("p50", func(name backends.VolumeName) error {
			_, err := cache.CreateVolume(b.Context(), plugin.Request{Image: "library:disk.raw", Volume: name})
			return err
		}),
		one("p50", func(name backends.VolumeName) error {
			_, err := client.CreateVolume(b.Context(), api.CreateRequest{Image: "library:disk.raw", Volume: name}, nil)
			return err
		}))
	added := (took[1] - took[0]).Seconds() * 1000
	atMost(b, "hit: p50 added by the socket, ms", added, 0.5, fmt.Sprintf("%v and %v", took[1].Round(time.Microsecond), took[0].Round(time.Microsecond)))
}

// embed opens the cache as a library on a file backend in dir.
func embed(b *testing.B, dir, images string) *plugin.Plugin {
	b.Helper()
	backend, err := file.Open(b.Context(), file.Config{Name: "local", Path: dir})
	check(b, err)
	b.Cleanup(func() { backend.Close() })
	source, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: images})
	check(b, err)
	p, err := plugin.Open(b.Context(), plugin.Config{
		StateDir: b.TempDir(), Backends: []plugin.BackendConfig{{Name: "local", Backend: backend}},
		Sources: []imagesource.Source{source},
	})
	check(b, err)
	b.Cleanup(func() { check(b, p.Close(b.Context())) })
	return p
}

// imageVolume fills the cache with the image and returns the image-volume's file.
func imageVolume(b *testing.B, p *plugin.Plugin, dir string) string {
	b.Helper()
	_, err := p.CreateVolume(b.Context(), plugin.Request{Image: "library:disk.raw", Volume: "first"})
	check(b, err)
	entries, err := p.Entries(b.Context(), plugin.EntryFilter{})
	check(b, err)
	return filepath.Join(dir, ".clonecache", "image-volumes", entries[0].ImageVolume)
}

// volumes makes hits volumes below dir by several workers and tells how long that took; then it removes
// them.
func volumes(b *testing.B, dir string, workers, round int, create func(name string) error) time.Duration {
	b.Helper()
	check(b, os.MkdirAll(dir, 0o755))
	names := make([]string, hits)
	for n := range names {
		names[n] = filepath.Join(dir, fmt.Sprintf("v-%d-%d-%d", workers, round, n))
	}
	took := timed(func() {
		queue := make(chan string)
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for name := range queue {
					if err := create(name); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for _, name := range names {
			queue <- name
		}
		close(queue)
		all.Wait()
	})
	for _, name := range names {
		check(b, os.Remove(name))
	}
	return took
}

// reflink is the bare floor of a hit.
func reflink(source, name string) error {
	src, err := os.Open(source)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		return err
	}
	return dst.Sync()
}

// daemon starts the program as users build it, without failpoints.
func daemon(b *testing.B, c harness.Config) *harness.Daemon {
	b.Helper()
	d := harness.New(b, c)
	program, err := filepath.Abs("../../bin/clonecache")
	check(b, err)
	d.Program = program
	d.Start(b)
	return d
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
