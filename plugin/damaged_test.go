package plugin_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// What is in quarantine stays there though the catalog is lost, or becomes that of before; what is released does not come back.
func TestQuarantineOutlivesTheCatalog(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, r *rig, before string){
		"lost":     func(t *testing.T, r *rig, _ string) { loseCatalog(t, r) },
		"restored": func(t *testing.T, r *rig, before string) { restoreCatalog(t, r, before) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, scrubbed)
			content := r.image(t, "disk.raw", 4*mib)
			first := r.create(t, "library:disk.raw", "v1", 0)
			before := t.TempDir()
			r.reopen(t, func() { copyCatalog(t, r, before) })
			volume := r.wantEntries(t, 1)[0].ImageVolume
			r.damage(t, volume, 5)
			plugin.ScrubDue(t.Context(), r.Plugin)
			r.wantQuarantine(t, first.EntryID, "v1")

			r.reopen(t, func() { lose(t, r, before) })
			r.wantQuarantine(t, first.EntryID, "v1")
			second := r.create(t, "library:disk.raw", "v2", 0)
			if second.Outcome == plugin.Hit {
				t.Errorf("got %+v, want it filled anew", second)
			}
			r.holds(t, second, content)

			if _, err := r.DeleteEntry(t.Context(), second.EntryID, true); err != nil {
				t.Fatal(err)
			}
			r.damage(t, volume, 5) // back to what it was
			if got, err := r.Revalidate(t.Context(), first.EntryID); err != nil || !got.Valid {
				t.Fatalf("right again: got %+v, %v", got, err)
			}
			r.reopen(t, func() { loseCatalog(t, r) })
			if a := r.create(t, "library:disk.raw", "v3", 0); a.Outcome != plugin.Hit {
				t.Errorf("released: got %+v, want a hit", a)
			}
		})
	}
}

// What is in quarantine is kept also where its image was cached anew before the catalog was lost: both have the same content.
func TestQuarantineOutlivesTheCatalogBesideItsSuccessor(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, scrubbed)
	r.image(t, "disk.raw", 4*mib)
	first := r.create(t, "library:disk.raw", "v1", 0)
	r.damage(t, r.wantEntries(t, 1)[0].ImageVolume, 5)
	plugin.ScrubDue(t.Context(), r.Plugin)
	second := r.create(t, "library:disk.raw", "v2", 0)
	wantMiss(t, "after the quarantine", second, plugin.MissQuarantined)

	for range 2 {
		r.reopen(t, func() { loseCatalog(t, r) })
		r.wantEntries(t, 2)
		r.wantQuarantine(t, first.EntryID, "v1")
		events, err := r.Events(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventQuarantined}})
		if err != nil || len(events) != 1 || !strings.Contains(events[0].Detail, "v1") {
			t.Errorf("events: got %+v, %v, want the quarantine told of once", events, err)
		}
	}
	if third := r.create(t, "library:disk.raw", "v3", 0); third.Outcome != plugin.Hit || third.EntryID != second.EntryID {
		t.Errorf("got %+v, want a hit on %s", third, second.EntryID)
	}
}

// A rule that caches its image anew leaves what is in quarantine to a person.
func TestARuleRemovesNothingFromQuarantine(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, scrubbed, following(
		plugin.FollowConfig{Source: "library", Match: imagesource.Match{Pattern: "golden-*.raw"}, Keep: 1, Pin: true}))
	r.aged(t, "golden-0.raw", time.Hour)
	r.sweep(t)
	first := r.wantEntries(t, 1)[0]
	r.damage(t, first.ImageVolume, 5)
	plugin.ScrubDue(t.Context(), r.Plugin)
	for range 2 {
		r.sweep(t)
		r.wantEntries(t, 2)
		r.wantQuarantine(t, first.ID)
	}
}

func copyCatalog(t *testing.T, r *rig, to string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "state", "catalog.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no catalog: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func restoreCatalog(t *testing.T, r *rig, from string) {
	t.Helper()
	loseCatalog(t, r)
	if err := os.CopyFS(filepath.Join(r.dir, "state"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// badDisk is a backend that does not give the content of its image-volumes while it is bad.
type badDisk struct {
	*capable
	bad atomic.Bool
}

func (b *badDisk) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	c, err := b.capable.OpenImageVolume(ctx, id)
	return badContent{c, b}, err
}

type badContent struct {
	backends.ImageVolumeContent
	disk *badDisk
}

func (c badContent) ReadAt(p []byte, off int64) (int, error) {
	if c.disk.bad.Load() {
		return 0, &backendError{}
	}
	return c.ImageVolumeContent.ReadAt(p, off)
}

// backendError is what a backend of files makes of a disk's error.
type backendError struct{}

func (*backendError) Error() string   { return "read: input/output error" }
func (*backendError) Unwrap() []error { return []error{backends.ErrUnavailable, syscall.EIO} }

// What the disk refuses to give is read once more later; when it refuses again, that is told, and nothing is made from it.
func TestWhatTheDiskDoesNotGiveIsDamaged(t *testing.T) {
	source, backend := newGatedSource(), &badDisk{capable: newCapable()}
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend), scrubbed)
	source.put("disk", "1", random(mib))
	first := r.create(t, "gated:disk", "v1", 0)
	scrub := func(unread int) plugin.ScrubResult {
		t.Helper()
		got, err := r.Controls().Scrub(t.Context(), plugin.ScrubRequest{Backend: "local", Share: 100})
		if err != nil || got.Unread != unread {
			t.Fatalf("scrub: got %+v, %v; want %d unread", got, err, unread)
		}
		return got
	}
	backend.bad.Store(true)
	scrub(1)
	r.wantProblem(t, plugin.CheckOptions{Deep: true}, "unreadable-image-volume", "input/output error")
	backend.bad.Store(false)
	scrub(0) // which begins the count anew
	backend.bad.Store(true)
	scrub(1)
	plugin.ScrubDue(t.Context(), r.Plugin) // it rests
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("after one reading: got %+v, want a hit", a)
	}
	scrub(0)
	e, err := r.Entry(t.Context(), first.EntryID)
	if err != nil || e.QuarantinedAt == nil || len(e.MadeFrom) != 2 || !strings.Contains(e.Quarantine, "input/output error") {
		t.Fatalf("after two readings: got %+v, %v, want it in quarantine, with both volumes", e, err)
	}
	if a := r.create(t, "gated:disk", "v3", 0); a.Outcome != plugin.Filled {
		t.Errorf("afterwards: got %+v, want it filled anew", a)
	}
}
