package plugin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// fillSeveral makes a volume of each of n images of 2 MiB, half of it data, oldest first.
func fillSeveral(t *testing.T, r *rig, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("disk%d.raw", i)
		r.image(t, name, 2*mib)
		if a := r.create(t, "library:"+name, "v-"+name, 0); a.Outcome != plugin.Filled {
			t.Fatalf("%s: got %+v, want filled", name, a)
		}
	}
}

// cached are the images that have an entry.
func cached(t *testing.T, r *rig) map[string]bool {
	t.Helper()
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]bool{}
	for _, e := range entries {
		for _, i := range e.ImageIDs {
			images[i] = true
		}
	}
	return images
}

func TestBoundsHoldAndTheLeastRecentlyUsedGoes(t *testing.T) {
	for _, c := range []struct {
		name   string
		bounds lru.Bounds
		cause  string
	}{
		{"count alone", lru.Bounds{MaxCount: 3}, "count"},
		{"size alone", lru.Bounds{MaxBytes: 5 * mib}, "size"},
		{"both", lru.Bounds{MaxCount: 3, MaxBytes: 50 * mib}, "count"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), c.bounds)
			fillSeveral(t, r, 3)
			r.create(t, "library:disk0.raw", "again", 0) // disk1 is the oldest now
			r.image(t, "new.raw", 2*mib)
			r.create(t, "library:new.raw", "v-new", 0)
			got := cached(t, r)
			if !got["library:new.raw"] || !got["library:disk0.raw"] || got["library:disk1.raw"] {
				t.Errorf("cached: %v, want new and disk0, not disk1", got)
			}
			rep, err := r.Report(t.Context(), "", time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			f := rep.Total
			if f.EvictionsBy[c.cause] == 0 || f.Evictions != f.EvictionsBy[c.cause] {
				t.Errorf("evictions: got %v, want all by %s", f.EvictionsBy, c.cause)
			}
			if f.Hits != 1 || f.Misses != 4 || f.DownloadedBytes != 4*2*mib || f.SavedBytes != 2*mib {
				t.Errorf("report: got %+v, want 1 hit, 4 misses", f)
			}
			if m := c.bounds.MaxBytes; m > 0 && f.HeldBytes > m {
				t.Errorf("held: %d bytes over the bound of %d", f.HeldBytes, m)
			}
			checkClean(t, r)
		})
	}
}

func TestWhatTheBackendNotesBesideTheContentCounts(t *testing.T) {
	bounds := lru.Bounds{MaxBytes: 2*mib + 4<<10} // room for two contents, and one record
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), bounds)
	for _, name := range []string{"a.raw", "b.raw"} {
		if err := os.WriteFile(filepath.Join(r.dir, "images", name), random(1*mib), 0o644); err != nil {
			t.Fatal(err)
		}
		r.create(t, "library:"+name, "v-"+name, 0)
	}
	rep, err := r.Report(t.Context(), "local", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if held := rep.Total.HeldBytes; held > bounds.MaxBytes {
		t.Errorf("held: %d bytes, %d over the bound", held, held-bounds.MaxBytes)
	}
	checkClean(t, r)
}

func TestAnImageOverTheBoundEvictsNothing(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxBytes: 5 * mib})
	fillSeveral(t, r, 2)
	content := r.image(t, "large.raw", 8*mib)
	a := r.create(t, "library:large.raw", "v-large", 0)
	if a.Outcome != plugin.Copied || a.Reason != plugin.ReasonTooLarge {
		t.Fatalf("got %+v, want copied: larger_than_cache", a)
	}
	r.holds(t, a, content)
	if got := cached(t, r); !got["library:disk0.raw"] || !got["library:disk1.raw"] {
		t.Errorf("cached: %v, want disk0 and disk1 still", got)
	}
	checkClean(t, r)
}

func TestPinnedEntriesStayAndTheRequestFallsBack(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 1})
	fillSeveral(t, r, 1)
	e := r.wantEntries(t, 1)[0]
	if _, err := r.SetPinned(t.Context(), e.ID, true); err != nil {
		t.Fatal(err)
	}
	r.image(t, "new.raw", 2*mib)
	if a := r.create(t, "library:new.raw", "v-new", 0); a.Outcome != plugin.Copied || a.Reason != plugin.ReasonNoRoom {
		t.Fatalf("got %+v, want copied: no_room", a)
	}
	if _, err := r.SetPinned(t.Context(), e.ID, false); err != nil {
		t.Fatal(err)
	}
	if a := r.create(t, "library:new.raw", "v-new2", 0); a.Outcome != plugin.Filled {
		t.Fatalf("unpinned: got %+v, want filled", a)
	}
	checkClean(t, r)
}

func TestOverQuotaFallsBackAndRecovers(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withQuota(1, 0), keeping)
	fillSeveral(t, r, 1)
	content := r.image(t, "new.raw", 2*mib)
	a := r.create(t, "library:new.raw", "v-new", 0)
	if a.Outcome != plugin.Copied || a.Reason != plugin.ReasonOverQuota {
		t.Fatalf("got %+v, want copied: over_quota", a)
	}
	r.holds(t, a, content)
	if _, err := r.DeleteAllEntries(t.Context(), "local", false); err != nil {
		t.Fatal(err)
	}
	if a := r.create(t, "library:new.raw", "v-new2", 0); a.Outcome != plugin.Filled {
		t.Fatalf("after room was made: got %+v, want filled", a)
	}
	q, err := r.Quota(t.Context())
	if err != nil || q.Volumes != (plugin.QuotaAmounts{Limit: 1, InUse: 1, Actual: 1, Catalog: 1}) || q.Gigabytes.InUse != 1 || q.Gigabytes.Actual != 1 {
		t.Errorf("quota: got %+v, %v, want 1 of 1 in use", q, err)
	}
	checkClean(t, r)
}

func TestPruneKeepsLoweredBounds(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	fillSeveral(t, r, 4)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.config.Backends[0].Bounds = lru.Bounds{MaxCount: 2}
	r.open(t)
	plan, err := r.PlanPrune(t.Context())
	if err != nil || len(plan.Planned) != 2 || !strings.Contains(plan.Planned[0].Why, "max_count, which is 2") || len(plan.Removed) != 0 || len(cached(t, r)) != 4 {
		t.Fatalf("plan: got %+v, %v, want two over max_count, and all still there", plan, err)
	}
	got, err := r.Prune(t.Context())
	if err != nil || len(got.Removed) != 2 || got.Removed[0].ID != plan.Planned[0].Entry.ID || got.Removed[1].ID != plan.Planned[1].Entry.ID {
		t.Fatalf("prune: got %+v, %v, want two removed", got, err)
	}
	if left := cached(t, r); !left["library:disk2.raw"] || !left["library:disk3.raw"] {
		t.Errorf("left: %v, want the two used last", left)
	}
	checkClean(t, r)
}

// What a deletion of all would remove, and would leave, is said before, and is what it does.
func TestADeletionOfAllGoesAsPlanned(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})))
	for _, name := range []string{"used", "pinned", "idle"} {
		source.put(name, "1", random(1*mib))
		r.create(t, "gated:"+name, "v-"+name, 0)
	}
	for _, name := range []string{"v-pinned", "v-idle"} {
		if err := r.DeleteVolume(t.Context(), "local", backends.VolumeName(name)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{ImageID: "gated:pinned"})
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %+v, %v", entries, err)
	}
	if _, err := r.SetPinned(t.Context(), entries[0].ID, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		force plugin.ForceDetach
		want  map[string]string // by image: how it is planned
	}{
		{false, map[string]string{"gated:used": "stays: it has live clones, and force is not given", "gated:pinned": "stays: it is pinned", "gated:idle": "goes: it is ready"}},
		{true, map[string]string{"gated:used": "goes: force is given: its space comes free with the last of its live clones", "gated:pinned": "stays: it is pinned", "gated:idle": "goes: it is ready"}},
	} {
		plan, err := r.PlanDeletion(t.Context(), plugin.Deletion{Force: c.force})
		if err != nil || len(plan.Planned) != 3 || len(plan.Removed) != 0 {
			t.Fatalf("got %+v, %v", plan, err)
		}
		for _, p := range plan.Planned {
			got := "stays: " + p.Why
			if p.Goes {
				got = "goes: " + p.Why
			}
			if want := c.want[p.Entry.ImageIDs[0]]; got != want {
				t.Errorf("force %v: %s %s, want %s", c.force, p.Entry.ImageIDs[0], got, want)
			}
		}
	}
	got, err := r.DeleteAllEntries(t.Context(), "", true)
	if err != nil || len(got.Removed) != 2 || got.Detached != 1 {
		t.Errorf("got %+v, %v, want the two that go, one of them detached", got, err)
	}
	if left := cached(t, r); !left["gated:pinned"] || left["gated:idle"] {
		t.Errorf("left: %v, want the pinned one", left)
	}
}

func TestReservationGrowsAndADiscardedFillLeavesNothing(t *testing.T) {
	dir := fstest.Mount(t, fstest.XFS, 512*mib)
	r := newRig(t, dir, lru.Bounds{MaxBytes: 6 * mib})
	content := compressible(16 * mib)
	writeQCOW2(t, filepath.Join(dir, "images", "disk.qcow2"), content)
	a := r.create(t, "library:disk.qcow2", "v1", 0)
	if a.Outcome != plugin.Copied || a.Reason != plugin.ReasonTooLarge {
		t.Fatalf("got %+v, want copied: larger_than_cache, found while writing", a)
	}
	r.holds(t, a, content)
	images, err := os.ReadDir(filepath.Join(dir, "volumes", ".clonecache", "image-volumes"))
	if err != nil || len(images) != 0 {
		t.Errorf("image-volumes: got %v, %v, want none", images, err)
	}
	checkClean(t, r)
}

func TestAnEntryWhoseClonesWereDeletedIsIdle(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{MaxCount: 2}, withSource(source), withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})))
	for _, name := range []string{"used", "idle", "new"} {
		source.put(name, "1", random(1*mib))
	}
	r.create(t, "gated:used", "v-used", 0) // the oldest
	r.create(t, "gated:idle", "v-idle", 0)
	if err := r.DeleteVolume(t.Context(), "local", "v-idle"); err != nil {
		t.Fatal(err)
	}
	r.create(t, "gated:new", "v-new", 0)
	if got := cached(t, r); !got["gated:used"] || got["gated:idle"] {
		t.Errorf("cached: %v, want the one in use, and not the idle one", got)
	}
	r.wantEntries(t, 2)
	checkClean(t, r)
}
