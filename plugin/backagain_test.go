package plugin_test

import (
	"fmt"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// What fills left on a store that fell silent beneath them goes as soon as the store is back, however long that took.
func TestWhatIsLeftOnASilentStoreGoesOnceItIsBack(t *testing.T) {
	memory := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
	backend := backendtest.NewFaulty(memory)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(backend), func(c *plugin.Config) { c.Backends[0].Fallback = "" })
	r.image(t, "disk.raw", 4*mib)
	silent := fmt.Errorf("%w: no mon answers", backends.ErrUnavailable)
	for _, m := range []backendtest.Method{
		backendtest.MethodWriteAt, backendtest.MethodDiscard, backendtest.MethodRetire, backendtest.MethodReap, backendtest.MethodListImageVolumes,
	} {
		backend.FailBefore(m, backendtest.Every, silent)
	}
	if a := r.create(t, "library:disk.raw", "v1", 0); a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonUnavailable {
		t.Errorf("got %+v, want bypassed, since the store is silent", a)
	}
	leftHalfMade(t, memory) // which nothing but a comparison finds
	for range 12 {
		r.Tidy(t.Context())
	}
	if len(r.Unavailable()) != 1 {
		t.Error("the store is not known to be silent")
	}
	if n := countImageVolumes(t, memory); n != 2 {
		t.Fatalf("%d image-volumes are left, want what two fills had begun", n)
	}
	backend.Mend()
	r.Tidy(t.Context())
	if n := countImageVolumes(t, memory); n != 0 || len(r.Unavailable()) != 0 {
		t.Errorf("once it is back: %d image-volumes are left, and these do not answer: %v", n, r.Unavailable())
	}
	checkClean(t, r)
}
