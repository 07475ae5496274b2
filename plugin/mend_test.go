package plugin_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/words"
)

// committed puts an image-volume on a backend which no row names, as a catalog that was lost leaves it.
func committed(t *testing.T, b backends.Backend, entry string) {
	t.Helper()
	content := []byte(entry)
	d := backends.Description{
		EntryID: words.EntryID(entry), Attempt: 1, Content: backends.Content{Digest: digestOf(content).String(), DiskFormat: "raw", SourceBytes: int64(len(content)), VirtualBytes: 512, InspectorVersion: diskimage.InspectorVersion},
		ContentKey: words.ContentKey(digestOf(content).String(), "raw"), ImageIDs: []string{"library:" + entry},
		Form: backends.Decoded,
	}
	st, err := b.Stage(t.Context(), backends.StageSpec{ID: backends.ImageVolumeID("cc-" + entry + "-1"), VirtualBytes: 512, Description: d})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// wantWhole wants so many image-volumes, each in a ready entry, and nothing to mend.
func wantWhole(t *testing.T, r *rig, b backends.Backend, want int) {
	t.Helper()
	held := 0
	for range b.ListImageVolumes(t.Context()) {
		held++
	}
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{State: "ready"})
	if err != nil || held != want || len(entries) != want {
		t.Fatalf("%d image-volumes and %d ready entries, %v; want %d", held, len(entries), err, want)
	}
	checkClean(t, r)
}

// Whoever surveys and mends at the same time as others takes nothing away that they have mended, and nothing
// that requests use.
func TestMendingAtOnceLosesNothing(t *testing.T) {
	const rounds, each, restartEvery = 100, 2, 20
	memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory))
	r.image(t, "disk.raw", 64<<10)
	r.create(t, "library:disk.raw", "v", 0)
	repair := func(ctx context.Context) error {
		_, err := r.Check(ctx, plugin.CheckOptions{Repair: true})
		return err
	}
	clean := func(ctx context.Context) error { _, err := r.Clean(ctx); return err }
	for round := range rounds {
		for i := range each {
			committed(t, memory, fmt.Sprintf("entry-%03d-%d", round, i))
		}
		hit := func(ctx context.Context) error {
			a, err := r.CreateVolume(ctx, plugin.Request{Image: "library:disk.raw", Volume: backends.VolumeName(fmt.Sprintf("v%d", round))})
			if err == nil && a.Outcome != plugin.Hit {
				err = fmt.Errorf("got %s (%s), want a hit", a.Outcome, a.Reason)
			}
			return err
		}
		var all sync.WaitGroup
		for _, do := range []func(context.Context) error{repair, clean, repair, hit, clean} {
			all.Go(func() {
				if err := do(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if round%restartEvery == restartEvery-1 {
			r.reopen(t, func() {})
			wantWhole(t, r, memory, 1+each*(round+1))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	wantWhole(t, r, memory, 1+each*rounds)
}

// The row that has an image-volume's ID may be its own: another reconcile, of whatever process, was faster.
func TestAnImageVolumeThatWasAdoptedMeanwhileStays(t *testing.T) {
	for _, c := range []struct {
		name string
		row  func(e *catalog.Entry)
		want int
	}{
		{"its own row", func(*catalog.Entry) {}, 1},
		{"its own row, detached", func(e *catalog.Entry) { e.State = catalog.Detached }, 1},
		{"its entry has another one now", func(e *catalog.Entry) { e.Attempt, e.ImageVolume = 2, "cc-entry-2" }, 0},
		{"another entry of its content, which is not there", func(e *catalog.Entry) { e.ID, e.ImageVolume = "other", "cc-other-1" }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := backendtest.NewMemory(backendtest.MemoryConfig{})
			r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory))
			committed(t, memory, "entry")
			if err := plugin.AdoptAfter(t.Context(), r.Plugin, "local", "cc-entry-1", c.row); err != nil {
				t.Log(err) // it says why it stays
			}
			left := 0
			for range memory.ListImageVolumes(t.Context()) {
				left++
			}
			if left != c.want {
				t.Errorf("%d image-volumes are left, want %d", left, c.want)
			}
		})
	}
}

// What is charged for nothing is given back before image-volumes are adopted: none goes for want of that quota.
func TestQuotaForNothingTakesNoImageVolumeAway(t *testing.T) {
	const charged = "INSERT INTO claims (id, project_id, entry_id, attempt, backend, image_id, gigabytes, in_use, created_at) VALUES ('claim', 'p', 'dead', 1, 'local', 'library:dead', 1, 0, 0)"
	for _, c := range []struct {
		name   string
		left   func(t *testing.T, r *rig, b backends.Backend)
		filled bool
	}{
		{"a claim of no row", func(t *testing.T, r *rig, _ backends.Backend) { r.inCatalog(t, charged) }, false},
		{"a claim of what a dead fill has staged", func(t *testing.T, r *rig, b backends.Backend) {
			r.inCatalog(t, charged)
			d := backends.Description{EntryID: "dead", Attempt: 1}
			if _, err := b.Stage(t.Context(), backends.StageSpec{ID: "cc-dead-1", VirtualBytes: 512, Description: d}); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the claim of a row whose image-volume is gone", func(t *testing.T, _ *rig, b backends.Backend) {
			for iv, err := range b.ListImageVolumes(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.Retire(t.Context(), iv.ID); err != nil {
					t.Fatal(err)
				}
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
			r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory), withQuota(1, 0))
			if c.filled {
				r.image(t, "disk.raw", 64<<10)
				r.create(t, "library:disk.raw", "v", 0)
				if err := r.DeleteVolume(t.Context(), "local", "v"); err != nil {
					t.Fatal(err)
				}
			}
			r.reopen(t, func() {
				c.left(t, r, memory)
				committed(t, memory, "entry")
			})
			wantWhole(t, r, memory, 1)
			if entries := r.wantEntries(t, 1); entries[0].ID != "entry" {
				t.Errorf("entry %s is there, want the adopted one", entries[0].ID)
			}
		})
	}
}

// Where the claims do not answer, nobody knows what is charged for nothing: an image-volume that is over quota stays until they do.
func TestNoImageVolumeGoesBeforeTheClaimsAreCompared(t *testing.T) {
	memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
	var down atomic.Bool
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory), withQuota(1, 0), silentWhile(&down))
	r.reopen(t, func() {
		r.inCatalog(t, "INSERT INTO claims (id, project_id, entry_id, attempt, backend, image_id, gigabytes, in_use, created_at) VALUES ('claim', 'p', 'dead', 1, 'local', 'library:dead', 1, 0, 0)")
		committed(t, memory, "entry")
		down.Store(true)
	})
	r.wantEntries(t, 0)
	down.Store(false)
	r.Tidy(t.Context())
	wantWhole(t, r, memory, 1)
	if entries := r.wantEntries(t, 1); entries[0].ID != "entry" {
		t.Errorf("entry %s is there, want the adopted one", entries[0].ID)
	}
}

// What could not be mended, since what that takes did not answer then, is mended later.
func TestWhatCouldNotBeMendedIsMendedLater(t *testing.T) {
	for _, passes := range []error{backends.ErrUnavailable, backends.ErrInUse, internaltenant.ErrUnavailable} {
		memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
		faulty := backendtest.NewFaulty(memory)
		r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(faulty))
		r.reopen(t, func() {
			if _, err := memory.Stage(t.Context(), backends.StageSpec{ID: "cc-dead-1", VirtualBytes: mib, Description: backends.Description{EntryID: "dead", Attempt: 1}}); err != nil {
				t.Fatal(err)
			}
			faulty.FailBefore(backendtest.MethodRetire, faulty.Calls(backendtest.MethodRetire)+1, passes)
		})
		r.wantProblem(t, plugin.CheckOptions{}, "unfinished-image-volume", "in no entry")
		r.Tidy(t.Context())
		checkClean(t, r)
	}
}

// However long a store was silent, what was left out of it is compared in the minute in which it answers again.
func TestAStoreThatAnswersAgainIsComparedAtOnce(t *testing.T) {
	memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
	faulty := backendtest.NewFaulty(memory)
	silent := func() {
		for _, m := range []backendtest.Method{backendtest.MethodListImageVolumes, backendtest.MethodReap} {
			for n := range 200 {
				faulty.FailBefore(m, faulty.Calls(m)+1+n, backends.ErrUnavailable)
			}
		}
	}
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(faulty))
	r.reopen(t, func() {
		if _, err := memory.Stage(t.Context(), backends.StageSpec{ID: "cc-dead-1", VirtualBytes: mib, Description: backends.Description{EntryID: "dead", Attempt: 1}}); err != nil {
			t.Fatal(err)
		}
		silent()
	})
	for range 20 {
		r.Tidy(t.Context())
	}
	faulty.Mend()
	r.wantProblem(t, plugin.CheckOptions{}, "unfinished-image-volume", "in no entry")
	r.Tidy(t.Context())
	checkClean(t, r)
}

// What serves requests is adopted first: a detached image-volume, which has no claim where the quota is used up, takes none from it.
func TestWhatServesIsAdoptedBeforeWhatIsDetached(t *testing.T) {
	memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory), withQuota(1, 0))
	r.reopen(t, func() {
		for i := range 7 { // in whatever order a listing has them
			entry := fmt.Sprintf("detached-%d", i)
			committed(t, memory, entry)
			id := backends.ImageVolumeID("cc-" + entry + "-1")
			if _, err := memory.Clone(t.Context(), id, backends.VolumeSpec{Name: backends.VolumeName("v-" + entry), SizeBytes: 512}); err != nil {
				t.Fatal(err)
			}
			if _, err := memory.Retire(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		committed(t, memory, "entry")
	})
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{State: "ready"})
	if err != nil || len(entries) != 1 || entries[0].ID != "entry" {
		t.Fatalf("ready entries: got %+v, %v, want the one that serves", entries, err)
	}
}

// Nor does what a fill that died has staged, and cannot be freed yet: it is charged once all that serves is.
func TestWhatServesIsAdoptedBeforeWhatCannotBeFreedIsCharged(t *testing.T) {
	memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory), withQuota(1, 0))
	var end func()
	r.reopen(t, func() {
		leftHalfMade(t, memory)
		end = memory.Watch("cc-dead-1")
		committed(t, memory, "entry")
	})
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{State: "ready"})
	if err != nil || len(entries) != 1 || entries[0].ID != "entry" {
		t.Fatalf("ready entries: got %+v, %v, want the one that serves", entries, err)
	}
	end()
	r.Tidy(t.Context())
	wantWhole(t, r, memory, 1)
}
