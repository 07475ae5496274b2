package plugin_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// kept is what must stay when a store gets another name.
type kept struct {
	ids, digests, stores string
	hits                 int64
	pinned               int
	quota                plugin.QuotaAmounts
	hitCount, missCount  int64
}

func keptOn(t *testing.T, r *rig, backend backends.Name) kept {
	t.Helper()
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{Backend: backend})
	if err != nil {
		t.Fatal(err)
	}
	var k kept
	for _, e := range entries {
		if e.Backend != backend || !e.Configured || e.StoreID == "" {
			t.Errorf("entry %+v, want it on %s", e, backend)
		}
		k.ids, k.digests, k.stores, k.hits = k.ids+e.ID, k.digests+e.Digest, k.stores+string(e.StoreID), k.hits+e.Hits
		if e.Pinned {
			k.pinned++
		}
	}
	q, err := r.Quota(t.Context())
	if err != nil || q.Volumes.Difference != 0 {
		t.Errorf("quota %+v, %v", q, err)
	}
	k.quota = q.Volumes
	report, err := r.Report(t.Context(), backend, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	k.hitCount, k.missCount = report.Total.Hits, report.Total.Misses
	return k
}

// cacheOfThree makes a rig with three entries, of which one is pinned and one was hit.
func cacheOfThree(t *testing.T) (*rig, *backendtest.Memory) {
	t.Helper()
	memory := backendtest.NewMemory(backendtest.MemoryConfig{})
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory))
	fillSeveral(t, r, 3)
	r.create(t, "library:disk1.raw", "hit", 0)
	if _, err := r.SetPinned(t.Context(), r.wantEntries(t, 3)[0].ID, true); err != nil {
		t.Fatal(err)
	}
	return r, memory
}

// wantHit wants a hit of a backend's first entry.
func wantHit(t *testing.T, r *rig, backend backends.Name, image, volume string) {
	t.Helper()
	a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: backend, Image: image, Volume: backends.VolumeName(volume)})
	if err != nil || a.Outcome != plugin.Hit {
		t.Errorf("%s on %s: got %+v, %v, want a hit", image, backend, a, err)
	}
}

func TestARenamedBackendKeepsEverything(t *testing.T) {
	r, _ := cacheOfThree(t)
	before := keptOn(t, r, "local")
	if before.pinned != 1 || before.hits != 1 || before.quota.InUse != 3 || before.missCount != 3 {
		t.Fatalf("before: %+v", before)
	}
	for _, name := range []backends.Name{"renamed", "again", "local"} {
		r.reopen(t, func() { r.config.Backends[0].Name = name })
		if after := keptOn(t, r, name); after != before {
			t.Errorf("as %s:\n got %+v\nwant %+v", name, after, before)
		}
		checkClean(t, r)
	}
	r.reopen(t, func() { r.config.Backends[0].Name = "last" })
	wantHit(t, r, "last", "library:disk0.raw", "v-last")
}

func TestARenamedFileCacheKeepsEverything(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{NoClone: "not here", IndependentClones: true}})))
	r.image(t, "disk.raw", mib)
	r.create(t, "library:disk.raw", "v1", 0)
	before := keptOn(t, r, "files")
	r.reopen(t, func() { r.config.FileCaches[0].Name, r.config.Backends[0].Fallback = "spare", "spare" })
	if after := keptOn(t, r, "spare"); after != before {
		t.Errorf("got %+v, want %+v", after, before)
	}
	if a := r.create(t, "library:disk.raw", "v2", 0); a.Outcome != plugin.Copied || a.DownloadedBytes != 0 {
		t.Errorf("got %+v, want a copy without a download", a)
	}
	checkClean(t, r)
}

// Two backends exchange their names: what each holds goes with it.
func TestBackendsThatExchangeTheirNames(t *testing.T) {
	other := backendtest.NewMemory(backendtest.MemoryConfig{})
	r, _ := cacheOfThree(t)
	r.reopen(t, func() {
		r.config.Backends = append(r.config.Backends, plugin.BackendConfig{Name: "other", Backend: other})
	})
	local := keptOn(t, r, "local")
	r.reopen(t, func() { r.config.Backends[0].Name, r.config.Backends[1].Name = "other", "local" })
	if after := keptOn(t, r, "other"); after != local {
		t.Errorf("what was local is other: got %+v, want %+v", after, local)
	}
	wantHit(t, r, "other", "library:disk1.raw", "v-swapped")
	checkClean(t, r)
}

func TestABackendThatIsTakenOutOfTheConfiguration(t *testing.T) {
	r, memory := cacheOfThree(t)
	took := r.config.Backends
	r.reopen(t, func() {
		r.config.Backends = []plugin.BackendConfig{{Name: "other", Backend: backendtest.NewMemory(backendtest.MemoryConfig{})}}
	})
	for _, e := range r.wantEntries(t, 3) {
		if e.Configured || e.Backend != "local" {
			t.Errorf("entry %+v, want it on local, not configured", e)
		}
	}
	check, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true})
	if err != nil || check.OK || len(check.Problems) != 1 || check.Problems[0].Kind != "not-configured" || !strings.Contains(check.Problems[0].Detail, "3 entries") {
		t.Errorf("check: %+v, %v", check, err)
	}
	quota, err := r.Quota(t.Context())
	if err != nil || quota.Volumes.InUse != 3 || quota.Volumes.Actual != 0 || !strings.Contains(strings.Join(quota.Warnings, "\n"), "3 volumes and 3 GiB") {
		t.Errorf("quota: %+v, %v", quota, err)
	}
	if all, err := r.DeleteAllEntries(t.Context(), "", false); err != nil || len(all.Removed) != 0 {
		t.Errorf("all backends: %+v, %v, want those left alone", all, err)
	}
	gone, err := r.DeleteAllEntries(t.Context(), "local", true)
	if err != nil || len(gone.Removed) != 2 || len(gone.Left) != 2 || gone.Left[0].Backend != "local" {
		t.Errorf("deleted: %+v, %v, want the two that are not pinned", gone, err)
	}
	pinned := r.wantEntries(t, 1)[0]
	if _, err := r.SetPinned(t.Context(), pinned.ID, false); err != nil {
		t.Fatal(err)
	}
	if one, err := r.DeleteEntry(t.Context(), pinned.ID, true); err != nil || len(one.Left) != 1 {
		t.Errorf("deleted: %+v, %v", one, err)
	}
	if quota, err := r.Quota(t.Context()); err != nil || quota.Volumes.InUse != 0 {
		t.Errorf("quota afterwards: %+v, %v", quota, err)
	}
	checkClean(t, r)
	r.reopen(t, func() { r.config.Backends = took })
	wantWhole(t, r, memory, 3) // what lay there is adopted
}

func TestTwoBackendsOnOnePlaceAreRefused(t *testing.T) {
	r, memory := cacheOfThree(t)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.config.Backends = append(r.config.Backends, plugin.BackendConfig{Name: "twin", Backend: memory})
	_, err := plugin.Open(t.Context(), r.config)
	if !errors.Is(err, plugin.ErrBadRequest) || !strings.Contains(err.Error(), "local and twin are one store") {
		t.Errorf("got %v, want that they are one store", err)
	}
	r.config.Backends = r.config.Backends[:1]
	r.open(t)
	wantWhole(t, r, memory, 3)
}

func TestASecondInstallationIsRefused(t *testing.T) {
	r, memory := cacheOfThree(t)
	second := r.config
	second.StateDir, second.FileCaches = filepath.Join(r.dir, "second"), nil
	second.Backends = []plugin.BackendConfig{{Name: "pool", Backend: memory}}
	_, err := plugin.Open(t.Context(), second)
	if !errors.Is(err, backends.ErrHeld) || !strings.Contains(err.Error(), "clonecache backend take-over pool") || !strings.Contains(err.Error(), r.config.StateDir) {
		t.Fatalf("got %v, want that it is held, by whom, and the remedy", err)
	}
	wantWhole(t, r, memory, 3)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := r.config
	catalog, err := plugin.CatalogOf(second.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if was, err := memory.TakeOver(t.Context(), backends.Holder{Catalog: catalog}); err != nil || was.StateDir != first.StateDir {
		t.Fatalf("taken over from %+v, %v", was, err)
	}
	r.config = second
	r.open(t)
	wantWhole(t, r, memory, 3)
	if _, err := plugin.Open(t.Context(), first); !errors.Is(err, backends.ErrHeld) {
		t.Errorf("the former holder: got %v, want ErrHeld", err)
	}
}

// What older versions kept under the backend's name is brought under its store's ID, also where the name changes
// with the version.
func TestAnOlderCatalogIsBroughtUnderStores(t *testing.T) {
	for _, name := range []backends.Name{"local", "renamed"} {
		t.Run(string(name), func(t *testing.T) {
			r, _ := cacheOfThree(t)
			before := keptOn(t, r, "local")
			r.reopen(t, func() {
				older(t, filepath.Join(r.config.StateDir, "catalog.db"))
				r.config.Backends[0].Name = name
			})
			if after := keptOn(t, r, name); after != before {
				t.Errorf("got %+v, want %+v", after, before)
			}
			wantHit(t, r, name, "library:disk2.raw", "v-upgraded")
			checkClean(t, r)
		})
	}
}

// older makes a catalog what it was before there were stores.
func older(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, table := range []string{"entries.store", "request_stats.backend", "eviction_stats.store", "fill_stats.store"} {
		name, column, _ := strings.Cut(table, ".")
		stmt := fmt.Sprintf(`UPDATE %s SET %s = (SELECT name FROM stores WHERE id = %[2]s)`, name, column)
		if name == "entries" {
			stmt += `, live_key = '"' || (SELECT name FROM stores WHERE id = store) || '"' || substr(live_key, length(store) + 3)`
		}
		if _, err := db.Exec(stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	if _, err := db.Exec(`DELETE FROM store_names; DELETE FROM stores; DELETE FROM identity`); err != nil {
		t.Fatal(err)
	}
}

// A store that does not answer when the daemon starts is taken for what it was, and serves once it answers.
func TestAStoreThatAnswersLater(t *testing.T) {
	r, memory := cacheOfThree(t)
	before := keptOn(t, r, "local")
	faulty := backendtest.NewFaulty(memory)
	r.reopen(t, func() {
		faulty.FailBefore(backendtest.MethodIdentify, 1, backends.ErrUnavailable)
		faulty.FailBefore(backendtest.MethodIdentify, 2, backends.ErrUnavailable)
		faulty.FailBefore(backendtest.MethodIdentify, 3, backends.ErrUnavailable)
		r.config.Backends[0].Backend = faulty
	})
	if got := r.wantEntries(t, 3)[0]; !got.Configured || got.Backend != "local" {
		t.Errorf("while it does not answer: %+v", got)
	}
	wantHit(t, r, "local", "library:disk1.raw", "v-later")
	if after := keptOn(t, r, "local"); after.ids != before.ids || after.quota != before.quota || after.hits != before.hits+1 {
		t.Errorf("got %+v, want one hit more than %+v", after, before)
	}
}
