package randomops

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Clients of three hosts, on one backend and one catalog, see one entry.
func TestHistoriesOfAnEntryOnSeveralHostsAreLinearizable(t *testing.T) {
	for _, c := range []struct {
		name    string
		model   porcupine.Model
		actions []action
	}{
		{"clones", entryModel, []action{request, request, request, evicting, evicting, pinning, freeing}},
		{"versions of clones", versionModel, []action{request, request, request, evicting, changing}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newSharedLab(t, newShared(t, inMemory(t)))
			checkHistories(t, l, setting(t, "HOST_HISTORIES", hostHistories, strconv.Atoi), c.model, c.actions)
		})
	}
}

// newSharedLab is a lab of several plugins.
func newSharedLab(t *testing.T, shared catalog.Access) *lab {
	t.Helper()
	l := &lab{
		source: &versions{bytes: map[string][]int{}}, store: "local", clock: new(atomic.Int64),
		backend: backendtest.NewMemory(backendtest.MemoryConfig{}),
	}
	l.fills = &fillRecorder{store: l.store, clock: l.clock}
	dir := inMemory(t)
	for n := range fleetSize {
		name := fmt.Sprintf("host-%d", n)
		p, err := plugin.Open(t.Context(), plugin.Config{
			StateDir: filepath.Join(dir, name), Host: name, Catalog: shared, LeaseFor: unhurried,
			Sources: []imagesource.Source{l.source}, Observer: l.fills,
			Backends: []plugin.BackendConfig{{Name: "local", Backend: l.backend}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		l.hosts = append(l.hosts, p)
	}
	return l
}
