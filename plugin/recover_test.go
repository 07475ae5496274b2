package plugin_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

func (r *rig) reopen(t *testing.T, between func()) {
	t.Helper()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	between()
	r.open(t)
}

// removeCatalog loses the catalog and the journal, and nothing else of the state directory.
func removeCatalog(r *rig) error {
	lost, err := filepath.Glob(filepath.Join(r.dir, "state", "catalog.db*"))
	for _, f := range append(lost, filepath.Join(r.dir, "state", "journal")) {
		err = errors.Join(err, os.RemoveAll(f))
	}
	return err
}

func TestLostAndDamagedCatalogsAreRebuilt(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, catalog string)
	}{
		{"lost", func(t *testing.T, catalog string) {
			for _, f := range []string{catalog, catalog + "-wal", catalog + "-shm"} {
				if err := os.RemoveAll(f); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"damaged", func(t *testing.T, catalog string) {
			if err := os.WriteFile(catalog, random(64<<10), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"damaged within", func(t *testing.T, catalog string) {
			const page = 4 << 10
			f, err := os.OpenFile(catalog, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(random(page), info.Size()/2/page*page); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 5})
			fillSeveral(t, r, 3)
			before := r.wantEntries(t, 3)
			r.reopen(t, func() { c.harm(t, filepath.Join(r.dir, "state", "catalog.db")) })
			after := r.wantEntries(t, 3)
			for i := range after {
				if after[i].ID != before[i].ID || after[i].Digest != before[i].Digest || after[i].HeldBytes != before[i].HeldBytes {
					t.Errorf("entry %d: got %+v, want %+v", i, after[i], before[i])
				}
			}
			if a := r.create(t, "library:disk1.raw", "v-after", 0); a.Outcome != plugin.Hit {
				t.Errorf("afterwards: got %+v, want hit", a)
			}
			checkClean(t, r)
		})
	}
}

// A fill that a killed daemon had begun is told of at the next start, also where its store is away by then, and ends once that is back.
func TestAnInterruptedFillIsToldOfWhereItsStoreIsAway(t *testing.T) {
	faulty := backendtest.NewFaulty(backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}}))
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(faulty))
	r.image(t, "disk.raw", mib)
	spec, err := plugin.FillSpecOf(t.Context(), r.Plugin, plugin.Request{Image: "library:disk.raw", Volume: "any"})
	if err != nil {
		t.Fatal(err)
	}
	r.reopen(t, func() {
		dead := newOtherHost(t, r)
		if _, _, start, err := dead.BeginFill(t.Context(), spec); err != nil || start != catalog.Started {
			t.Fatalf("begin: %v, %v", start, err)
		}
		faulty.FailBefore(backendtest.MethodIdentify, backendtest.Every, backends.ErrUnavailable)
	})
	told := plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventFillFailed}}
	wantEvents(t, "while the store is away", r.happened(t, told), "fill_failed interrupted")
	if e := r.wantEntries(t, 1)[0]; e.State != "filling" {
		t.Errorf("while the store is away: %+v, want the row", e)
	}
	faulty.Mend()
	r.Tidy(t.Context())
	r.Tidy(t.Context())
	r.wantEntries(t, 0)
	wantEvents(t, "once it is back", r.happened(t, told), "fill_failed interrupted")
	checkClean(t, r)
}

func TestReportSurvivesARestart(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	fillSeveral(t, r, 2)
	r.create(t, "library:disk0.raw", "v2", 0)
	before, err := r.Report(t.Context(), "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	r.reopen(t, func() {})
	after, err := r.Report(t.Context(), "local", time.Time{})
	if err != nil || after.Total.Hits != 1 || after.Total.Misses != 2 || after.Total.Hits != before.Total.Hits {
		t.Errorf("report: got %+v, %v, want 1 hit and 2 misses as before", after.Total, err)
	}
}

func TestImageVolumeDeletedBehindOurBackIsFilledAnew(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	fillSeveral(t, r, 1)
	e := r.wantEntries(t, 1)[0]
	if err := os.Remove(filepath.Join(r.dir, "volumes", ".clonecache", "image-volumes", e.ImageVolume)); err != nil {
		t.Fatal(err)
	}
	got, err := r.Check(t.Context(), plugin.CheckOptions{})
	if err != nil || got.OK || got.Problems[0].Kind != "missing-image-volume" {
		t.Errorf("check: got %+v, %v, want a missing image-volume", got, err)
	}
	if a := r.create(t, "library:disk0.raw", "again", 0); a.Outcome != plugin.Filled {
		t.Fatalf("got %+v, want filled", a)
	}
	checkClean(t, r)
}

func TestUnfinishedIntentIsSettledAtStart(t *testing.T) {
	// A volume whose intent was never answered is whole here, so it stays, and the repeated request
	// finds it.
	source := newGatedSource()
	close(source.gate)
	memory := backendtest.NewMemory(backendtest.MemoryConfig{})
	faulty := backendtest.NewFaulty(memory)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(faulty))
	source.put("disk", "1", random(1*mib))
	faulty.FailAfter(backendtest.MethodClone, 1, backends.ErrUnavailable)
	a := r.create(t, "gated:disk", "v1", 0)
	if a.Outcome == plugin.Filled {
		t.Fatalf("got %+v, want a fallback: the backend did not answer", a)
	}
	r.reopen(t, func() {})
	checkClean(t, r)
}

func TestEntriesWithClonesAreDetachedAndReaped(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{MaxCount: 1}, withSource(source), withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})))
	source.put("a", "1", random(1*mib))
	source.put("b", "1", random(1*mib))
	r.create(t, "gated:a", "va", 0)
	if _, err := r.Entries(t.Context(), plugin.EntryFilter{}); err != nil { // counts the clone
		t.Fatal(err)
	}
	if a := r.create(t, "gated:b", "vb", 0); a.Outcome != plugin.Filled {
		t.Fatalf("b: got %+v, want filled", a)
	}
	states := map[string]int{}
	for _, e := range r.wantEntries(t, 2) {
		states[e.State]++
	}
	if states["detached"] != 1 || states["ready"] != 1 {
		t.Fatalf("states: got %v, want one detached, one ready", states)
	}
	if plan, err := r.Controls().PlanClean(t.Context()); err != nil || len(plan.Planned) != 0 {
		t.Errorf("plan while it has a clone: got %+v, %v, want nothing to go", plan, err)
	}
	if err := r.DeleteVolume(t.Context(), "local", "va"); err != nil {
		t.Fatal(err)
	}
	if plan, err := r.Controls().PlanClean(t.Context()); err != nil || plan.Reaped != 1 || len(plan.Planned) != 1 || plan.Planned[0].Kind != "detached" || plan.FreedBytes == 0 {
		t.Errorf("plan: got %+v, %v, want the detached one to go", plan, err)
	}
	r.wantEntries(t, 2)
	got, err := r.Clean(t.Context())
	if err != nil || got.Reaped != 1 {
		t.Fatalf("clean: got %+v, %v, want one reaped", got, err)
	}
	r.wantEntries(t, 1)
	q, err := r.Quota(t.Context())
	if err != nil || q.Volumes.InUse != 1 || q.Volumes.Actual != 1 {
		t.Errorf("quota: got %+v, %v, want one image-volume", q, err)
	}
	checkClean(t, r)
}

func TestASecondProcessOnTheSameStateIsRefused(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{})
	config := r.config
	config.Backends, config.FileCaches = nil, nil
	if p, err := plugin.Open(t.Context(), config); err == nil {
		p.Close(t.Context())
		t.Fatal("a second one opened the same state directory")
	}
}

func TestDetachedImageVolumesStayCountedWhenTheCatalogIsLost(t *testing.T) {
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})))
	source.put("a", "1", random(1*mib))
	r.create(t, "gated:a", "va", 0)
	if _, err := r.DeleteAllEntries(t.Context(), "", true); err != nil {
		t.Fatal(err)
	}
	r.reopen(t, func() {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.RemoveAll(filepath.Join(r.dir, "state", "catalog.db"+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if e := r.wantEntries(t, 1)[0]; e.State != "detached" || e.Clones != 1 {
		t.Errorf("got %+v, want it detached, with its clone", e)
	}
	q, err := r.Quota(t.Context())
	if err != nil || q.Volumes.InUse != 1 || q.Volumes.Actual != 1 {
		t.Errorf("quota: got %+v, %v, want one image-volume", q, err)
	}
	if err := r.DeleteVolume(t.Context(), "local", "va"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantEntries(t, 0)
	checkClean(t, r)
}

// loseCatalog removes the catalog of a closed plugin.
func (r *rig) loseCatalog(t *testing.T) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(r.dir, "state", "catalog.db"+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}
