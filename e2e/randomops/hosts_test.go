package randomops

import (
	"context"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends/backendtest"
)

// Operations are done by any of three hosts, which are processes of their own, share one backend and one catalog, and are
// killed now and then while the others go on.
func TestRandomOperationsOnSeveralHosts(t *testing.T) {
	soak(t, setting(t, "HOST_OPS", hostOperations, strconv.Atoi), func(rt *rapid.T) *run {
		return newFleetRun(rt)
	})
}

func newFleetRun(t *rapid.T) *run {
	dir, err := os.MkdirTemp("/dev/shm", "randomops-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f, err := newFleet(dir, newShared(t, dir), backendtest.NewMemory(backendtest.MemoryConfig{CloneLimit: cloneLimit}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	r := &run{world: f, model: newModel(true), mix: hostsMix, hosts: fleetSize}
	r.model.cacheless = true
	r.prepare(t)
	return r
}

// sequenced is a test, or one sequence of it, as what it needs is made for.
type sequenced interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// settled looks at what each host says at the end: all count the same, and find nothing to mend.
func (f *fleet) settled(t *rapid.T, r *run) {
	for n := range f.hosts {
		r.do(t, op{Do: check, Host: n})
	}
}

// hostsMix is for several hosts: the catalog is not theirs to damage.
var hostsMix = []share{
	{create, 36}, {repeat, 7}, {deleteVolume, 13}, {setImage, 8}, {evict, 8}, {pin, 4}, {unpin, 3}, {prefetch, 6},
	{loseVolume, 2}, {loseImage, 2}, {foreign, 1}, {prune, 2}, {clean, 2}, {check, 1},
	{restart, 1}, {configure, 1}, {kill, 3},
}
