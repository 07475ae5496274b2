package plugin_test

import (
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// A fill needs no volume: who wants an image cached says which image, and where.
func TestAnImageIsCachedForNoVolume(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 10})
	content := r.image(t, "disk.raw", 8*mib)
	e, role, err := plugin.Fill(t.Context(), r.Plugin, "local", "library:disk.raw")
	if err != nil || role != plugin.Filled || e.State != "ready" || e.VirtualBytes != 8*mib {
		t.Fatalf("got %s, %+v, %v, want a ready entry", role, e, err)
	}
	if volumes, err := r.ListVolumes(t.Context(), ""); err != nil || len(volumes) != 0 {
		t.Errorf("volumes: %+v, %v, want none", volumes, err)
	}
	a := r.create(t, "library:disk.raw", "v1", 0)
	if a.Outcome != plugin.Hit || a.EntryID != e.ID {
		t.Errorf("the first volume: %+v, want a hit", a)
	}
	r.holds(t, a, content)
	checkClean(t, r)
}
