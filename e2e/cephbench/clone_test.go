//go:build ceph

package cephbench

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	ours "github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// The images whose clones are compared: a clone costs the same whatever they hold.
const (
	imageBytes = 256 * mib
	imageData  = 16 * mib
)

// BenchmarkClones compares hits in the library with the bare calls of librbd that the same request needs.
func BenchmarkClones(b *testing.B) {
	for b.Loop() {
		for _, size := range []struct {
			name  string
			bytes int64
		}{{"of the image's size", imageBytes}, {"grown", 2 * imageBytes}} {
			for _, workers := range []int{1, 8, 32} {
				s := newSite(b)
				cache := s.library(b, "disk.raw")
				s.hit(b, cache, "disk.raw", "first", 0)
				from := s.onlySource(b)
				var operations [2]int64 // of the OSD
				turn := func(who int, clone func(name string) error) contestant {
					return func(round int) time.Duration {
						before := osdOperations(b)
						took := s.clones(b, workers, fmt.Sprintf("v-%d-%d", who, round), clone)
						operations[who] = osdOperations(b) - before
						return took
					}
				}
				took := alternate(
					turn(0, func(name string) error { return s.bareClone(from, name, size.bytes) }),
					turn(1, func(name string) error { return create(b, cache, "disk.raw", name, size.bytes) }))
				each := func(who int) float64 { return float64(operations[who]) / float64(perTurn(workers)) }
				atLeast(b, fmt.Sprintf("hit: rate to bare librbd, %s, %d at once", size.name, workers), ratio(took[0], took[1]), 0.95,
					fmt.Sprintf("%s to %s; %.1f to %.1f operations of the OSD", perSecond(workers, took[1]), perSecond(workers, took[0]), each(1), each(0)))
			}
		}
	}
}

// perTurn is how many clones some workers make in one turn.
func perTurn(workers int) int { return 30 + 10*min(workers, 8) }

func perSecond(workers int, took []time.Duration) string {
	return fmt.Sprintf("%.1f/s", float64(perTurn(workers))/median(took).Seconds())
}

// clones makes volumes by several workers.
func (s *site) clones(b *testing.B, workers int, prefix string, clone func(name string) error) time.Duration {
	b.Helper()
	return timed(func() {
		many(b, workers, perTurn(workers), func(n int) error { return clone(fmt.Sprintf("%s-%d", prefix, n)) })
	})
}

// many runs do for 0 … count-1 by several workers.
func many(b *testing.B, workers, count int, do func(n int) error) {
	b.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for n := next.Add(1) - 1; n < int64(count); n = next.Add(1) - 1 {
				if err := do(int(n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// BenchmarkGrowth compares a hit beside many clones of the same image-volume with one of an image-volume
// that has few, one after the other in turns.
func BenchmarkGrowth(b *testing.B) {
	for b.Loop() {
		s := newSite(b)
		cache := s.library(b, "few.raw", "many.raw")
		s.hit(b, cache, "few.raw", "first-of-few", 0)
		few := s.onlySource(b)
		s.hit(b, cache, "many.raw", "first-of-many", 0)
		source := s.onlySource(b, few)
		made := 1
		for _, clones := range []int{1000, 5000} {
			more := clones - made
			many(b, 16, more, func(n int) error { return s.bareClone(source, fmt.Sprintf("sibling-%d-%d", clones, n), imageBytes) })
			took := pairs(20*rounds,
				func(n int) { s.hit(b, cache, "few.raw", fmt.Sprintf("few-%d-%d", clones, n), 0) },
				func(n int) { s.hit(b, cache, "many.raw", fmt.Sprintf("many-%d-%d", clones, n), 0) })
			made = clones + len(took[1])
			atMost(b, fmt.Sprintf("hit: p50 at %d existing clones, to few", clones), float64(median(took[1]))/float64(median(took[0])), 1.2,
				fmt.Sprintf("%s and %s", milliseconds(median(took[1])), milliseconds(median(took[0]))))
		}
	}
}

// pairs lets two take turns, call by call, each going first in its turn, and returns the times of each.
func pairs(count int, contestants ...func(n int)) [][]time.Duration {
	times := make([][]time.Duration, len(contestants))
	for n := range count {
		for turn := range contestants {
			i := (turn + n) % len(contestants)
			times[i] = append(times[i], timed(func() { contestants[i](n) }))
		}
	}
	return times
}

// library opens the cache as a library, with these images to be cached.
func (s *site) library(b *testing.B, images ...string) *plugin.Plugin {
	b.Helper()
	dir := b.TempDir()
	for seed, name := range images {
		harness.SmallDisk(b, filepath.Join(dir, name), uint64(seed), imageBytes, imageData)
	}
	backend, err := ours.Open(b.Context(), s.config())
	check(b, err)
	b.Cleanup(func() { check(b, backend.Close()) })
	from, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: dir})
	check(b, err)
	p, err := plugin.Open(b.Context(), plugin.Config{
		StateDir: b.TempDir(), Backends: []plugin.BackendConfig{{Name: "ceph", Backend: backend}},
		Sources: []imagesource.Source{from},
	})
	check(b, err)
	b.Cleanup(func() { check(b, p.Close(b.Context())) })
	return p
}

// create makes a volume of that size; 0: the image's.
func create(b *testing.B, p *plugin.Plugin, image, name string, size int64) error {
	a, err := p.CreateVolume(b.Context(), plugin.Request{Image: "library:" + image, Volume: backends.VolumeName(name), SizeBytes: size})
	if err == nil && a.Outcome != plugin.Hit && a.Outcome != plugin.Filled {
		return fmt.Errorf("outcome: got %s (%s), want a clone", a.Outcome, a.Detail)
	}
	return err
}

func (s *site) hit(b *testing.B, p *plugin.Plugin, image, name string, size int64) {
	b.Helper()
	check(b, create(b, p, image, name, size))
}
