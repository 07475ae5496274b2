package plugin_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// keeping lets nobody go for the quota.
func keeping(c *plugin.Config) { c.Backends[0].KeepForQuota = true }

// evictedBy lists the images that were evicted for a reason, oldest first.
func (r *rig) evictedBy(t *testing.T, reason string) []string {
	t.Helper()
	events, err := r.Events(t.Context(), plugin.EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range events {
		if e.Kind == plugin.EventEvicted && string(e.Reason) == reason {
			all = append(all, strings.TrimSuffix(strings.TrimPrefix(e.ImageID, "library:"), ".raw"))
		}
	}
	slices.Sort(all)
	return all
}

// Where the quota refuses, as many of the oldest idle entries go as the claim needs.
func TestTheQuotaIsOneMoreBound(t *testing.T) {
	for _, c := range []struct {
		name               string
		volumes, gigabytes int64 // of the quota, first 10 of each
		pinned             int   // the oldest ones
		evicted            string
		outcome            plugin.Outcome
	}{
		{"one volume is missing", 3, 0, 0, "[disk0]", plugin.Filled},
		{"a GiB is missing", 0, 3, 0, "[disk0]", plugin.Filled},
		{"it was lowered", 1, 0, 0, "[disk0 disk1 disk2]", plugin.Filled},
		{"both are lowered", 2, 1, 0, "[disk0 disk1 disk2]", plugin.Filled},
		{"pinned ones stay", 3, 0, 1, "[disk1]", plugin.Filled},
		{"where all together are not enough, nobody goes", 2, 0, 2, "[]", plugin.Copied},
		{"where nothing helps, nobody goes", 0, 0, 3, "[]", plugin.Copied},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withQuota(10, 10))
			fillSeveral(t, r, 3)
			for _, e := range r.wantEntries(t, 3) {
				for i := range c.pinned {
					if e.ImageIDs[0] == fmt.Sprintf("library:disk%d.raw", i) {
						if _, err := r.SetPinned(t.Context(), e.ID, true); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			volumes, gigabytes := c.volumes, c.gigabytes
			if volumes == 0 && gigabytes == 0 {
				volumes = 3
			}
			r.reopen(t, func() { withQuota(volumes, gigabytes)(&r.config) })
			r.image(t, "new.raw", 2*mib)
			if a := r.create(t, "library:new.raw", "v-new", 0); a.Outcome != c.outcome {
				t.Errorf("got %+v, want %s", a, c.outcome)
			}
			if got := fmt.Sprint(r.evictedBy(t, "quota")); got != c.evicted {
				t.Errorf("evicted: got %s, want %s", got, c.evicted)
			}
			checkClean(t, r)
		})
	}
}

// limitedTenant is one whose service makes volumes, has limits per type, and says what is missing in some
// way.
type limitedTenant struct {
	*cinderlike
	limit int
	types map[string]string // of backends
	says  func(volumeType string, limit int) error
}

func (o *limitedTenant) Claim(ctx context.Context, s internaltenant.ClaimSpec) (internaltenant.Claim, error) {
	have := 0
	o.mu.Lock()
	for _, c := range o.claims {
		if backend, _, _ := strings.Cut(string(c.EntryID), "/"); backend != "" {
			have++
		}
	}
	o.mu.Unlock()
	if have >= o.limit {
		return internaltenant.Claim{}, fmt.Errorf("claim: %w", o.says(o.types[s.Backend], o.limit))
	}
	return o.cinderlike.Claim(ctx, s)
}

// However the tenant's service says it, entries whose clones are gone make room, and only those go that are
// needed.
func TestAServicesQuotaIsABoundHoweverItIsSaid(t *testing.T) {
	for name, says := range map[string]func(string, int) error{
		"with what is used": func(_ string, limit int) error {
			return &internaltenant.QuotaError{Resource: "gigabytes_fast", Limit: int64(limit), Used: int64(limit), Wanted: 1, Words: "over"}
		},
		"without what is used": func(_ string, limit int) error {
			return &internaltenant.QuotaError{Resource: "volumes", Limit: int64(limit), Used: internaltenant.UnknownUse, Wanted: 1, Words: "over"}
		},
		"in words of its own": func(string, int) error { return internaltenant.ErrOverQuota },
	} {
		t.Run(name, func(t *testing.T) {
			backend := newCapable()
			owner := &limitedTenant{cinderlike: newCinderlike(backend), limit: 3, says: says}
			r, source, _, _ := adoptingRig(t, withBackend(backend), withOwner(owner), func(c *plugin.Config) { c.Backends[0].VolumeType = "fast" })
			for i := range 4 {
				image := fmt.Sprintf("disk%d", i)
				source.put(image, "1", random(mib))
				volume := fmt.Sprintf("v%d", i)
				if a := r.create(t, "gated:"+image, volume, 0); a.Outcome != plugin.Filled {
					t.Fatalf("%s: got %+v, want filled", image, a)
				}
				if err := backend.DeleteVolume(t.Context(), backends.VolumeRef{Name: backends.VolumeName(volume)}); err != nil {
					t.Fatal(err)
				}
			}
			if got := cached(t, r); len(got) != 3 || got["gated:disk0"] {
				t.Errorf("cached: %v, want all but disk0", got)
			}
			owner.wantClaims(t, 3)
			checkClean(t, r)
		})
	}
}

// Entries with live clones are charged until these are gone: they stay, and so do all where it is no use.
func TestWhatIsInUseDoesNotGoForTheQuota(t *testing.T) {
	for name, options := range map[string][]option{"in use": nil, "evict_for_quota = false": {keeping}} {
		t.Run(name, func(t *testing.T) {
			backend := newCapable()
			owner := &limitedTenant{cinderlike: newCinderlike(backend), limit: 2, says: func(string, int) error { return internaltenant.ErrOverQuota }}
			r, source, _, _ := adoptingRig(t, append([]option{withBackend(backend), withOwner(owner)}, options...)...)
			for i, want := range []plugin.Outcome{plugin.Filled, plugin.Filled, plugin.Copied} {
				image, volume := fmt.Sprintf("disk%d", i), fmt.Sprintf("v%d", i)
				source.put(image, "1", random(mib))
				if a := r.create(t, "gated:"+image, volume, 0); a.Outcome != want {
					t.Fatalf("%s: got %+v, want %s", image, a, want)
				}
				if options != nil && want == plugin.Filled {
					if err := backend.DeleteVolume(t.Context(), backends.VolumeRef{Name: backends.VolumeName(volume)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := cached(t, r); !got["gated:disk0"] || !got["gated:disk1"] {
				t.Errorf("cached: %v, want disk0 and disk1 still", got)
			}
			checkClean(t, r)
		})
	}
}

// fillAndDelete makes volumes of n images of so many MiB of data and removes them again: only what is cached
// holds the space.
func fillAndDelete(t *testing.T, r *rig, n, size int, want ...plugin.Outcome) {
	t.Helper()
	for i := range n {
		image := fmt.Sprintf("disk%d.raw", i)
		if err := os.WriteFile(filepath.Join(r.dir, "images", image), random(size*mib), 0o644); err != nil {
			t.Fatal(err)
		}
		a := r.create(t, "library:"+image, "v", 0)
		if !slices.Contains(want, a.Outcome) {
			t.Fatalf("%s: got %+v, want %s", image, a, want)
		}
		if err := r.DeleteVolume(t.Context(), "local", "v"); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(r.dir, "images", image)); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full of idle entries has room for a new image, also where no bound is set.
func TestAFullDiskOfIdleEntriesHasRoom(t *testing.T) {
	for _, kind := range []fstest.Kind{fstest.XFS, fstest.Ext4} {
		t.Run(string(kind), func(t *testing.T) {
			small := fstest.Mount(t, kind, 400*mib)
			r := newRig(t, t.TempDir(), lru.Bounds{}, onDisk(t, small), func(c *plugin.Config) {
				c.Backends[0].Fallback = "files"
				c.FileCaches[0].Bounds.MaxBytes = 1 << 40
			})
			fillAndDelete(t, r, 4, 100, plugin.Filled, plugin.Copied)
			if got := r.evictedBy(t, "full"); len(got) == 0 || got[0] != "disk0" {
				t.Errorf("evicted since it was full: %v, want disk0 first", got)
			}
			if n := len(cached(t, r)); n == 0 {
				t.Error("nothing is cached any more")
			}
			checkClean(t, r)
		})
	}
}

// onDisk puts backend and file cache on one filesystem, and nothing else.
func onDisk(t *testing.T, dir string) option {
	return func(c *plugin.Config) {
		backend, files := openStores(t, dir)
		c.Backends[0].Backend, c.FileCaches[0].Cache = backend, files
	}
}

// A store that stays full though entries went does not lose all of them.
func TestAStoreThatStaysFullKeepsItsEntries(t *testing.T) {
	backend := backendtest.NewFaulty(backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory", IndependentClones: true}}))
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend), func(c *plugin.Config) { c.Backends[0].Fallback = "" })
	for i := range 6 {
		source.put(fmt.Sprint("disk", i), "1", random(5*mib))
		r.create(t, fmt.Sprint("gated:disk", i), fmt.Sprint("v", i), 0)
	}
	backend.FailBefore(backendtest.MethodWriteAt, backendtest.Every, fmt.Errorf("write: %w", backends.ErrNoSpace))
	for i := range 5 {
		source.put("new", fmt.Sprint(i), random(5*mib))
		a := r.create(t, "gated:new", fmt.Sprint("new", i), 0)
		if a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonBackendFull || !strings.Contains(a.Detail, "idle entries were evicted") && i == 0 {
			t.Errorf("got %+v, want bypassed: backend_full", a)
		}
	}
	if n := len(cached(t, r)); n < 2 {
		t.Errorf("%d of 6 are left, though evicting them was in vain", n)
	}
	backend.Mend()
	if a := r.create(t, "gated:new", "at-last", 0); a.Outcome != plugin.Filled {
		t.Errorf("with space again: got %+v, want filled", a)
	}
}
