package plugin_test

import (
	"fmt"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// BenchmarkHit is what the plugin itself adds to a clone: the backend's is one in memory.
func BenchmarkHit(b *testing.B) {
	source := newGatedSource()
	close(source.gate)
	source.put("disk", "1", random(mib))
	r := newRig(b, b.TempDir(), lru.Bounds{MaxCount: 10}, withSource(source), withBackend(backendtest.NewMemory(backendtest.MemoryConfig{})))
	n := 0
	hit := func() {
		n++
		a, err := r.CreateVolume(b.Context(), plugin.Request{Image: "gated:disk", Volume: backends.VolumeName(fmt.Sprintf("v%d", n))})
		if err != nil || a.Outcome != plugin.Hit && n > 1 {
			b.Fatalf("%+v, %v", a, err)
		}
	}
	hit()
	b.ReportAllocs()
	for b.Loop() {
		hit()
	}
}
