package faults

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// clock is one that a test steps.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) step(d time.Duration) { c.ahead.Add(int64(d)) }

// steps of the clock; leases go by the database's, which stays.
var clockSteps = map[string]time.Duration{"back": -3 * time.Hour, "ahead": 3 * time.Hour}

// A clock that steps by hours changes nothing that matters: hits stay hits, what was just used is not
// pruned for its age, the bounds hold, and the pinned entry stays.
func TestASteppingClock(t *testing.T) {
	mount := mountXFS(t)
	for name, step := range clockSteps {
		t.Run(name, func(t *testing.T) {
			var c clock
			r, disks := newClockRig(t, filepath.Join(mount, name), &c)
			for n := range 3 {
				r.served(t, imageRef(n), fmt.Sprint("before-", n), disks[n])
			}
			if _, err := r.SetPinned(t.Context(), r.entries(t)[imageRef(0)].ID, true); err != nil {
				t.Fatal(err)
			}
			c.step(step)
			for n := range 3 {
				if a := r.served(t, imageRef(n), fmt.Sprint("after-", n), disks[n]); a.Outcome != plugin.Hit {
					t.Errorf("image %d after the step: got %s, want a hit", n, a.Outcome)
				}
			}
			if pruned, err := r.Prune(t.Context()); err != nil || len(pruned.Removed) > 0 {
				t.Errorf("prune: removed %+v, %v; all were just used", pruned.Removed, err)
			}
			for n := 3; n < 6; n++ {
				if a := r.served(t, imageRef(n), fmt.Sprint("new-", n), disks[n]); a.Outcome != plugin.Filled {
					t.Errorf("image %d after the step: got %s (%s), want filled", n, a.Outcome, a.Detail)
				}
				got := r.entries(t)
				if _, pinned := got[imageRef(0)]; !pinned || len(got) != 3 {
					t.Errorf("entries: got %v, want 3 with the pinned one", got)
				}
			}
		})
	}
}

// A host that has lost its clock when the daemon starts, and gets it back later, is as any other: what was cached
// serves, new images are cached, and nothing is removed for its age that was just used.
func TestAStartWithoutAClock(t *testing.T) {
	mount := mountXFS(t)
	var c clock
	r, disks := newClockRig(t, mount, &c)
	for n := range 2 {
		r.served(t, imageRef(n), fmt.Sprint("before-", n), disks[n])
	}
	r.restart(t, func() { c.step(-time.Since(time.Unix(0, 0))) })
	for n, want := range []plugin.Outcome{plugin.Hit, plugin.Hit, plugin.Filled} {
		if a := r.served(t, imageRef(n), fmt.Sprint("in-1970-", n), disks[n]); a.Outcome != want {
			t.Errorf("image %d without a clock: got %s (%s), want %s", n, a.Outcome, a.Detail, want)
		}
	}
	c.step(time.Since(time.Unix(0, 0)))
	for n := range 3 {
		if a := r.served(t, imageRef(n), fmt.Sprint("after-", n), disks[n]); a.Outcome != plugin.Hit {
			t.Errorf("image %d with the clock again: got %s (%s), want a hit", n, a.Outcome, a.Detail)
		}
	}
	if pruned, err := r.Prune(t.Context()); err != nil || len(pruned.Removed) > 0 {
		t.Errorf("prune: removed %+v, %v; all were just used", pruned.Removed, err)
	}
	if a := r.served(t, imageRef(3), "new", disks[3]); a.Outcome != plugin.Filled {
		t.Errorf("a new image: got %s (%s), want filled", a.Outcome, a.Detail)
	}
}

// A fill during which the clock steps keeps its lease, and ends as any other.
func TestTheClockStepsDuringAFill(t *testing.T) {
	mount := mountXFS(t)
	for name, step := range clockSteps {
		t.Run(name, func(t *testing.T) {
			disk, image := makeImage(t, "raw")
			var c clock
			source := &memory{content: image, name: "disk.raw"}
			source.set(int64(len(image)), func(content []byte) io.Reader {
				half := len(content) / 2
				return io.MultiReader(bytes.NewReader(content[:half]), stepping{&c, step}, bytes.NewReader(content[half:]))
			})
			r := newRig(t, filepath.Join(mount, name), rigConfig{
				sources: []imagesource.Source{source},
				change:  func(p *plugin.Config) { p.Now, p.LeaseFor = c.now, time.Minute },
			})
			if a := r.served(t, "memory:disk.raw", "v", disk); a.Outcome != plugin.Filled {
				t.Errorf("got %s (%s), want filled", a.Outcome, a.Detail)
			}
			if a := r.served(t, "memory:disk.raw", "w", disk); a.Outcome != plugin.Hit {
				t.Errorf("got %s (%s), want a hit", a.Outcome, a.Detail)
			}
		})
	}
}

// stepping is an empty stream at whose end the clock steps.
type stepping struct {
	clock *clock
	step  time.Duration
}

func (s stepping) Read([]byte) (int, error) {
	s.clock.step(s.step)
	return 0, io.EOF
}

// newClockRig opens a plugin with a library of six images, of which three are cached at most, and not for
// longer than an hour since their last use.
func newClockRig(t *testing.T, dir string, c *clock) (*rig, [][]byte) {
	t.Helper()
	images := t.TempDir()
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: images})
	if err != nil {
		t.Fatal(err)
	}
	disks := make([][]byte, 6)
	for n := range disks {
		disks[n] = bytes.Repeat([]byte{byte(n + 1)}, mib)
		if err := os.WriteFile(filepath.Join(images, fmt.Sprintf("%d.raw", n)), disks[n], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return newRig(t, dir, rigConfig{
		sources: []imagesource.Source{library}, bounds: lru.Bounds{MaxCount: 3},
		change: func(p *plugin.Config) { p.Now, p.Backends[0].MaxIdle = c.now, time.Hour },
	}), disks
}

func imageRef(n int) string { return fmt.Sprintf("library:%d.raw", n) }

// entries are the backend's, by image.
func (r *rig) entries(t *testing.T) map[string]plugin.EntryView {
	t.Helper()
	all, err := r.Entries(t.Context(), plugin.EntryFilter{Backend: "local"})
	if err != nil {
		t.Fatal(err)
	}
	byImage := make(map[string]plugin.EntryView)
	for _, e := range all {
		for _, id := range e.ImageIDs {
			byImage[id] = e
		}
	}
	return byImage
}
