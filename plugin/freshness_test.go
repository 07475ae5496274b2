package plugin_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

func TestWhatNobodyUsesIsComparedWithItsSource(t *testing.T) {
	var later atomic.Int64 // nanoseconds
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, func(c *plugin.Config) {
		c.FreshFor = map[string]time.Duration{"library": time.Hour}
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	for _, name := range []string{"kept", "changed", "gone", "declared"} {
		r.image(t, name, mib)
		q := plugin.Request{Image: "library:" + name, Volume: backends.VolumeName(name)}
		if name == "declared" {
			q.DiskFormat = "raw"
		}
		if _, err := r.CreateVolume(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	r.image(t, "changed", mib)
	if err := os.Remove(filepath.Join(r.dir, "images", "gone")); err != nil {
		t.Fatal(err)
	}
	superseded := func(when string, want ...string) {
		t.Helper()
		is := make(map[string]bool)
		for _, e := range r.wantEntries(t, 4) {
			is[e.ImageIDs[0]] = e.SupersededAt != nil
		}
		for _, name := range want {
			if !is["library:"+name] {
				t.Errorf("%s: %s is not superseded", when, name)
			}
			delete(is, "library:"+name)
		}
		for image, old := range is {
			if old {
				t.Errorf("%s: %s is superseded", when, image)
			}
		}
	}
	plugin.Sweep(t.Context(), r.Plugin)
	superseded("while fresh")
	later.Store(int64(2 * time.Hour))
	plugin.Sweep(t.Context(), r.Plugin)
	superseded("later", "changed", "gone")
}

func TestWhatAnotherHostHasFilledIsNotTakenForStale(t *testing.T) {
	var later atomic.Int64 // nanoseconds
	c := newCluster(t, 2, lru.Bounds{}, func(c *plugin.Config) {
		c.FreshFor = map[string]time.Duration{"gated": time.Hour}
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	close(c.source.gate)
	for _, name := range []string{"kept", "changed"} {
		c.source.put(name, "1", random(mib))
		c.hosts[0].create(t, "gated:"+name, name, 0)
	}
	c.source.put("changed", "2", random(mib))
	later.Store(int64(2 * time.Hour))
	plugin.Sweep(t.Context(), c.hosts[1].Plugin)
	for _, e := range c.hosts[1].wantEntries(t, 2) {
		if is, want := e.SupersededAt != nil, e.ImageIDs[0] == "gated:changed"; is != want {
			t.Errorf("%s: superseded is %v, want %v", e.ImageIDs[0], is, want)
		}
	}
}
