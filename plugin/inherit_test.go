package plugin_test

import (
	"context"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// heir is a backend on which a removed host has left a volume half made, which cannot be removed at once.
type heir struct {
	backends.Backend
	mu    sync.Mutex
	asked []string
}

func (h *heir) Inherit(_ context.Context, from string) ([]backends.VolumeName, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, from)
	if len(h.asked) == 1 {
		return nil, backends.ErrUnavailable
	}
	return []backends.VolumeName{"half"}, nil
}

// What a host has left half made that was removed is settled by another one, again until that has succeeded, and then not any more.
func TestWhatARemovedHostLeftIsSettledByAnother(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	h := &heir{Backend: c.hosts[0].config.Backends[0].Backend}
	c.own = h
	r := c.join(t, "host-1")
	gone, err := plugin.InstanceOf(c.hosts[0].config.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := plugin.Kill(c.hosts[0].Plugin); err != nil {
		t.Fatal(err)
	}
	c.lose(t, "host-0")
	r.Tidy(t.Context())
	if len(h.asked) != 0 {
		t.Errorf("of a host that is only lost: %v", h.asked)
	}
	if _, err := r.Controls().RemoveHost(t.Context(), "host-0"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.Tidy(t.Context())
	}
	if len(h.asked) != 2 || h.asked[0] != string(gone) || h.asked[1] != string(gone) {
		t.Errorf("what was left is asked of %v, want twice of %s", h.asked, gone)
	}
	events, err := r.Events(t.Context(), plugin.EventFilter{Kinds: []plugin.EventKind{plugin.EventMended}})
	if err != nil || len(events) != 1 || events[0].Volume != "half" || events[0].Reason != "half-made-volume" || events[0].Backend != "local" {
		t.Errorf("events: %+v, %v, want that of the volume", events, err)
	}
}
