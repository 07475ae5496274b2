package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// scrubbed lets everything be due at once.
func scrubbed(c *plugin.Config) { c.ScrubEvery, c.ScrubShare = time.Nanosecond, 100 }

// wantQuarantine checks that an entry is in quarantine and what was made from it is known.
func (r *rig) wantQuarantine(t *testing.T, id string, madeFrom ...backends.VolumeName) plugin.EntryView {
	t.Helper()
	e, err := r.Entry(t.Context(), id)
	if err != nil || e.QuarantinedAt == nil || e.Quarantine == "" || len(e.MadeFrom) != len(madeFrom) {
		t.Fatalf("entry: got %+v, %v, want it in quarantine, with %v", e, err, madeFrom)
	}
	for i, v := range madeFrom {
		if e.MadeFrom[i] != v {
			t.Errorf("made from it: got %v, want %v", e.MadeFrom, madeFrom)
		}
	}
	return e
}

// A flipped bit is found by reading back, and nothing is made from the image-volume any more: not by a hit, not after a
// restart, and not because another image has the same content.
func TestAFlippedBitIsFoundAndNothingIsMadeFromIt(t *testing.T) {
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, scrubbed)
			content := append(compressible(2*mib), make([]byte, 2*mib)...)
			image := "disk." + format
			if format == "raw" {
				if err := os.WriteFile(filepath.Join(r.dir, "images", image), content, 0o600); err != nil {
					t.Fatal(err)
				}
			} else {
				writeQCOW2(t, filepath.Join(r.dir, "images", image), content)
			}
			first := r.create(t, "library:"+image, "v1", 0)
			plugin.ScrubDue(t.Context(), r.Plugin)
			if e, err := r.Entry(t.Context(), first.EntryID); err != nil || e.VerifiedAt == nil || e.QuarantinedAt != nil {
				t.Fatalf("what is right: got %+v, %v, want it verified", e, err)
			}
			r.damage(t, r.wantEntries(t, 1)[0].ImageVolume, mib+5)
			plugin.ScrubDue(t.Context(), r.Plugin)
			r.wantQuarantine(t, first.EntryID, "v1")
			r.wantProblem(t, plugin.CheckOptions{}, "quarantined", "v1")

			second := r.create(t, "library:"+image, "v2", 0)
			wantMiss(t, "after the quarantine", second, plugin.MissQuarantined)
			r.holds(t, second, content)
			r.reopen(t, func() {})
			third := r.create(t, "library:"+image, "v3", 0)
			if third.Outcome != plugin.Hit || third.EntryID != second.EntryID {
				t.Errorf("after a restart: got %+v, want a hit on %s", third, second.EntryID)
			}
			r.holds(t, third, content)
			copied, err := os.ReadFile(filepath.Join(r.dir, "images", image))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(r.dir, "images", "same."+format), copied, 0o600); err != nil {
				t.Fatal(err)
			}
			fourth := r.create(t, "library:same."+format, "v4", 0)
			if fourth.EntryID == first.EntryID {
				t.Error("equal content was served from what is in quarantine")
			}
			r.holds(t, fourth, content)
			events, err := r.Events(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventQuarantined}})
			if err != nil || len(events) != 1 || !strings.Contains(events[0].Detail, "v1") {
				t.Errorf("events: got %+v, %v", events, err)
			}
		})
	}
}

// What is in quarantine is released once it is right again, stays while it is not, and goes by a word.
func TestQuarantineEnds(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, scrubbed)
	r.image(t, "disk.raw", 4*mib)
	first := r.create(t, "library:disk.raw", "v1", 0)
	volume := r.wantEntries(t, 1)[0].ImageVolume
	r.damage(t, volume, 5)
	plugin.ScrubDue(t.Context(), r.Plugin)
	if got, err := r.Revalidate(t.Context(), first.EntryID); err != nil || got.Valid || got.Detail == "" {
		t.Errorf("still damaged: got %+v, %v", got, err)
	}
	r.wantQuarantine(t, first.EntryID, "v1")
	r.damage(t, volume, 5) // back to what it was
	if got, err := r.Revalidate(t.Context(), first.EntryID); err != nil || !got.Valid || got.Entry.QuarantinedAt != nil {
		t.Errorf("right again: got %+v, %v", got, err)
	}
	if a := r.create(t, "library:disk.raw", "v2", 0); a.Outcome != plugin.Hit || a.EntryID != first.EntryID {
		t.Errorf("released: got %+v, want a hit", a)
	}
	r.damage(t, volume, 5)
	result, err := r.Controls().Scrub(t.Context(), plugin.ScrubRequest{Backend: "local", Share: 100})
	if err != nil || result.Entries != 1 || len(result.Quarantined) != 1 || len(result.Quarantined[0].MadeFrom) != 2 {
		t.Errorf("scrub: got %+v, %v", result, err)
	}
	if _, err := r.DeleteEntry(t.Context(), first.EntryID, false); err != nil {
		t.Fatal(err)
	}
	checkClean(t, r)
	if _, err := r.Controls().Scrub(t.Context(), plugin.ScrubRequest{Backend: "absent"}); !errors.Is(err, plugin.ErrUnknownBackend) {
		t.Errorf("an unknown backend: got %v", err)
	}
	if _, err := r.Controls().Scrub(t.Context(), plugin.ScrubRequest{Share: 101}); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("a share of 101: got %v", err)
	}
}

// Several who read the same one at once, and find it right, release it: none of them takes it for one whose place was taken.
func TestAReleaseByTwoAtOnce(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, scrubbed)
	r.image(t, "disk.raw", 4*mib)
	first := r.create(t, "library:disk.raw", "v1", 0)
	volume := r.wantEntries(t, 1)[0].ImageVolume
	r.damage(t, volume, 5)
	plugin.ScrubDue(t.Context(), r.Plugin)
	r.wantQuarantine(t, first.EntryID, "v1")
	r.damage(t, volume, 5) // back to what it was
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got, err := r.Revalidate(t.Context(), first.EntryID); err != nil || !got.Valid {
				t.Errorf("got %+v, %v, want it released", got, err)
			}
		})
	}
	all.Wait()
	if a := r.create(t, "library:disk.raw", "v2", 0); a.Outcome != plugin.Hit || a.EntryID != first.EntryID {
		t.Errorf("released: got %+v, want a hit", a)
	}
}

// A disk that has another bit than the host remembers is found out: the reading goes past the memory.
func TestABitThatOnlyTheDiskHas(t *testing.T) {
	fs := fstest.New(t, fstest.XFS, 512*mib)
	r := newRig(t, fs.Dir, lru.Bounds{}, scrubbed)
	content := r.image(t, "disk.raw", 4*mib)
	first := r.create(t, "library:disk.raw", "v1", 0)
	volume := filepath.Join(r.dir, "volumes", ".clonecache", "image-volumes", r.wantEntries(t, 1)[0].ImageVolume)
	if got, err := os.ReadFile(volume); err != nil || !bytes.Equal(got, content) { // and now it is remembered
		t.Fatalf("the image-volume: %d bytes, %v", len(got), err)
	}
	fs.FlipBit(t, volume, mib+7)
	plugin.ScrubDue(t.Context(), r.Plugin)
	r.wantQuarantine(t, first.EntryID, "v1")
}

// What one daemon finds is heard of by the others, and one of them reads a store.
func TestQuarantineAmongHosts(t *testing.T) {
	c := newCluster(t, 2, lru.Bounds{}, scrubbed)
	one, two := c.hosts[0], c.hosts[1]
	content := one.image(t, "disk.raw", 4*mib)
	first := one.create(t, "library:disk.raw", "v1", 0)
	if a := two.create(t, "library:disk.raw", "v2", 0); a.Outcome != plugin.Hit && a.EntryID != first.EntryID {
		t.Fatalf("the other host: got %+v", a)
	}
	one.damage(t, one.wantEntries(t, 1)[0].ImageVolume, 5)
	plugin.ScrubDue(t.Context(), one.Plugin)
	one.wantQuarantine(t, first.EntryID, "v1", "v2")
	plugin.HearOfQuarantine(t.Context(), two.Plugin)
	third := two.create(t, "library:disk.raw", "v3", 0)
	wantMiss(t, "on the other host", third, plugin.MissQuarantined)
	two.holds(t, third, content)
}

// One whose image-volume has vanished, which the next reconcile sees to, keeps nobody from reading the others back.
func TestAScrubPassesOverWhatHasVanished(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, scrubbed)
	r.image(t, "gone.raw", mib)
	r.image(t, "damaged.raw", mib)
	r.create(t, "library:gone.raw", "v1", 0)
	vanished := r.wantEntries(t, 1)[0].ImageVolume
	second := r.create(t, "library:damaged.raw", "v2", 0)
	if err := os.Remove(filepath.Join(r.dir, "volumes", ".clonecache", "image-volumes", vanished)); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.wantEntries(t, 2) {
		if e.ID == second.EntryID {
			r.damage(t, e.ImageVolume, 5)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	plugin.ScrubDue(ctx, r.Plugin)
	if ctx.Err() != nil {
		t.Fatal("it has tried the one that has vanished again and again")
	}
	r.wantQuarantine(t, second.EntryID, "v2")
}

// sleepless is an image-volume whose reading takes a while.
type sleepless struct{ took time.Duration }

func (s sleepless) OpenImageVolume(context.Context, backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	return s, nil
}

func (s sleepless) ReadAt(p []byte, _ int64) (int, error) {
	time.Sleep(s.took)
	return len(p), nil
}
func (sleepless) Close() error { return nil }

// A scrub reads no longer than its share of the time, and ends with its context.
func TestAScrubKeepsToItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := plugin.SlowReader(sleepless{10 * time.Millisecond}, 10, func(context.Context) error { return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := reader.OpenImageVolume(ctx, "e-1")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		begun := time.Now()
		for range 4 { // the rest that the last one owes is not waited for
			if _, err := c.ReadAt(make([]byte, 1), 0); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 310*time.Millisecond {
			t.Errorf("40 ms of reading at 10 percent took %v", took)
		}
		cancel()
		if _, err := c.ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: got %v", err)
		}
	})
}
