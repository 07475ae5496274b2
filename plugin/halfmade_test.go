package plugin_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// halfMade is a backend on which a process that died has left half a volume "v1", which says nothing of us.
type halfMade struct {
	*backendtest.Memory
	left atomic.Bool
	ours bool // Settle can tell
}

func (h *halfMade) has(name backends.VolumeName) bool { return name == "v1" && h.left.Load() }

func (h *halfMade) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	if h.has(name) {
		return backends.Volume{}, backends.ErrNotOurs
	}
	return h.Memory.StatVolume(ctx, name)
}

func (h *halfMade) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	if h.has(spec.Name) {
		return backends.Volume{}, backends.ErrExist
	}
	return h.Memory.Clone(ctx, id, spec)
}

func (h *halfMade) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	if !h.has(spec.Name) {
		return h.Memory.Settle(ctx, spec)
	}
	if !h.ours {
		return backends.Absent, nil
	}
	h.left.Store(false)
	return backends.Removed, nil
}

// What a process left half made under a name goes when the name is asked for, also where the journal has lost its
// intent; what is somebody else's stays.
func TestWhatTheJournalNoLongerKnowsOfGivesItsNameFree(t *testing.T) {
	for _, c := range []struct {
		name   string
		cached bool
		ours   bool
		want   plugin.Outcome // "": it is refused
	}{
		{"a hit", true, true, plugin.Hit},
		{"a miss", false, true, plugin.Filled},
		{"a hit, somebody else's volume", true, false, ""},
		{"a miss, somebody else's volume", false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &halfMade{Memory: backendtest.NewMemory(backendtest.MemoryConfig{Info: backends.Info{CanClone: true, CloneMethod: "memory"}}), ours: c.ours}
			r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(b))
			r.image(t, "disk.raw", 64<<10)
			if c.cached {
				r.create(t, "library:disk.raw", "warm", 0)
			}
			b.left.Store(true)
			a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:disk.raw", Volume: "v1"})
			if a.Outcome != c.want || (c.want == "") != errors.Is(err, plugin.ErrConflict) {
				t.Errorf("got %+v, %v, want %q", a, err, c.want)
			}
			if b.left.Load() == c.ours {
				t.Errorf("it is left: %t, and ours: %t", b.left.Load(), c.ours)
			}
			checkClean(t, r)
		})
	}
}
