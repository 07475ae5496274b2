package plugin_test

import (
	"context"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// renumbered is a backend that gets another ID by a later version.
type renumbered struct {
	*capable
	later bool
}

func (r *renumbered) Identify(ctx context.Context) (backends.Identity, error) {
	is, err := r.capable.Identify(ctx)
	if err == nil && r.later {
		is.ID, is.Former = "later:"+is.ID, is.ID
	}
	return is, err
}

// A backend whose ID another version makes otherwise keeps its entries: they hit at once, and none is of a backend that is not
// configured.
func TestABackendWhoseIDIsAnotherByNowKeepsWhatItHas(t *testing.T) {
	source, backend := newGatedSource(), &renumbered{capable: newCapable()}
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
	source.put("disk", "1", random(mib))
	first := r.create(t, "gated:disk", "v1", 0)
	if _, err := r.SetPinned(t.Context(), first.EntryID, true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.reopen(t, func() { backend.later = true })
		e := r.wantEntries(t, 1)[0]
		if e.ID != first.EntryID || !e.Configured || !e.Pinned || e.Backend != "local" {
			t.Errorf("got %+v, want the same entry, of a configured backend", e)
		}
		checkClean(t, r)
	}
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit || a.EntryID != first.EntryID {
		t.Errorf("got %+v, want a hit", a)
	}
}
