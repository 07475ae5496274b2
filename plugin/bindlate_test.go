package plugin_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// away is a backend that does not say which store it is as long as it is away.
type away struct {
	*backendtest.Memory
	gone     atomic.Bool
	identify func()
}

func (a *away) Identify(ctx context.Context) (backends.Identity, error) {
	if a.gone.Load() {
		return backends.Identity{}, backends.ErrUnavailable
	}
	is, err := a.Memory.Identify(ctx)
	if a.identify != nil {
		a.identify()
	}
	return is, err
}

func newAway(m *backendtest.Memory) *away {
	a := &away{Memory: m}
	a.gone.Store(true)
	return a
}

// A backend has another name now, and its former one is that of a new one, which does not answer: that is not
// taken for the one that has said itself which it is.
func TestAnotherStoreUnderAFormerNameThatDoesNotAnswer(t *testing.T) {
	r, memory := cacheOfThree(t)
	before := keptOn(t, r, "local")
	for range 8 { // stores come in no order
		fresh := newAway(backendtest.NewMemory(backendtest.MemoryConfig{}))
		r.reopen(t, func() {
			r.config.Backends = []plugin.BackendConfig{{Name: "local", Backend: fresh}, {Name: "moved", Backend: memory}}
		})
		if after := keptOn(t, r, "moved"); after.ids != before.ids || after.pinned != before.pinned || after.quota != before.quota {
			t.Fatalf("got %+v, want %+v", after, before)
		}
		r.reopen(t, func() { r.config.Backends = []plugin.BackendConfig{{Name: "local", Backend: memory}} })
	}
	fresh := newAway(backendtest.NewMemory(backendtest.MemoryConfig{}))
	r.reopen(t, func() {
		r.config.Backends = []plugin.BackendConfig{{Name: "local", Backend: fresh}, {Name: "moved", Backend: memory}}
	})
	wantHit(t, r, "moved", "library:disk1.raw", "v-moved")
	fresh.gone.Store(false)
	a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "library:disk1.raw", Volume: "v-new"})
	if err != nil || a.Outcome != plugin.Filled {
		t.Errorf("got %+v, %v, want a miss on the new backend", a, err)
	}
	checkClean(t, r)
}

// Two backends come back at once, and are one store: at most one of them is used.
func TestTwoBackendsOnOnePlaceThatComeBackAtOnce(t *testing.T) {
	memory := backendtest.NewMemory(backendtest.MemoryConfig{})
	both := make(chan struct{}, 2)
	meet := func() {
		both <- struct{}{}
	}
	one, two := newAway(memory), newAway(memory)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(one))
	r.image(t, "disk.raw", mib)
	r.reopen(t, func() {
		r.config.Backends = append(r.config.Backends, plugin.BackendConfig{Name: "twin", Backend: two})
	})
	one.identify, two.identify = meet, meet
	one.gone.Store(false)
	two.gone.Store(false)
	type result struct {
		plugin.Answer
		err error
	}
	answers := make(chan result, 2)
	for _, name := range []backends.Name{"local", "twin"} {
		go func() {
			a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: name, Image: "library:disk.raw", Volume: backends.VolumeName("v-" + name)})
			answers <- result{a, err}
		}()
	}
	served := 0
	for range 2 {
		if a := <-answers; a.err == nil && a.Outcome != plugin.Bypassed {
			served++
		}
	}
	if served != 1 {
		t.Errorf("%d of two backends on one place served, want one", served)
	}
}

// awayCache is a file cache that does not say which store it is as long as it is away.
type awayCache struct {
	plugin.FileCache
	gone atomic.Bool
}

func (a *awayCache) Identify(ctx context.Context) (backends.Identity, error) {
	if a.gone.Load() {
		return backends.Identity{}, backends.ErrUnavailable
	}
	return a.FileCache.Identify(ctx)
}

func (a *awayCache) OpenImage(ctx context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error) {
	return a.FileCache.OpenImage(ctx, id)
}

// A file cache that has not said which store it is gets no entry: nobody would know whose that is.
func TestAFileCacheThatIsNotIdentifiedGetsNoEntries(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{NoClone: "not here", IndependentClones: true}})))
	r.image(t, "disk.raw", mib)
	var cache *awayCache
	r.reopen(t, func() {
		cache = &awayCache{FileCache: r.config.FileCaches[0].Cache}
		cache.gone.Store(true)
		r.config.FileCaches[0].Cache, r.config.FileCaches[0].Name, r.config.Backends[0].Fallback = cache, "spare", "spare"
	})
	if a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "library:disk.raw", Volume: "v1"}); err != nil || a.Outcome != plugin.Bypassed {
		t.Errorf("got %+v, %v, want it bypassed", a, err)
	}
	r.wantEntries(t, 0)
	cache.gone.Store(false)
	if a := r.create(t, "library:disk.raw", "v2", 0); a.Outcome != plugin.Copied {
		t.Errorf("got %+v, want it copied", a)
	}
	if e := r.wantEntries(t, 1)[0]; e.Backend != "spare" || e.StoreID == "" {
		t.Errorf("entry %+v", e)
	}
	checkClean(t, r)
}

// A store that does not say which it is keeps nobody from the others, whatever its error, and serves as soon as it
// says so.
func TestAStoreThatCannotBeIdentifiedKeepsNobodyFromTheOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		method backendtest.Method
		err    error
	}{
		{"no answer", backendtest.MethodIdentify, backends.ErrUnavailable},
		{"it may not be read", backendtest.MethodIdentify, os.ErrPermission},
		{"its record is damaged", backendtest.MethodIdentify, errors.New("store-id holds no UUID")},
		{"it is full", backendtest.MethodIdentify, backends.ErrNoSpace},
		{"it may not be written", backendtest.MethodHoldFor, os.ErrPermission},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, memory := cacheOfThree(t)
			faulty := backendtest.NewFaulty(memory)
			beside := backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}})
			r.reopen(t, func() {
				for n := range 50 { // as often as anybody asks
					faulty.FailBefore(c.method, n+1, c.err)
				}
				r.config.Backends[0].Backend = faulty
				r.config.Backends = append(r.config.Backends, plugin.BackendConfig{Name: "beside", Backend: beside})
			})
			if a := ask(t, r, "beside", "v-beside"); a.Outcome != plugin.Filled {
				t.Errorf("on another backend: got %+v, want it filled", a)
			}
			a := ask(t, r, "local", "v-first")
			if a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonUnavailable {
				t.Errorf("got %+v, want it bypassed: %s", a, plugin.ReasonUnavailable)
			}
			r.reopen(t, func() { r.config.Backends[0].Backend = memory })
			wantHit(t, r, "local", "library:disk1.raw", "v-later")
			r.wantEntries(t, 4)
		})
	}
}

func ask(t *testing.T, r *rig, backend backends.Name, volume string) plugin.Answer {
	t.Helper()
	a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: backend, Image: "library:disk1.raw", Volume: backends.VolumeName(volume)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}
