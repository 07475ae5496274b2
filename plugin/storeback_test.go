package plugin_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// rotten is a backend whose image-volumes, once told so, have another first byte than was written; they are read when it is let.
type rotten struct {
	*backendtest.Memory
	is     atomic.Bool
	opened chan struct{}
	read   chan struct{}
}

func (b *rotten) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	content, err := b.Memory.OpenImageVolume(ctx, id)
	if err != nil || !b.is.Load() {
		return content, err
	}
	select {
	case b.opened <- struct{}{}:
	default:
	}
	<-b.read
	return rottenContent{content}, nil
}

type rottenContent struct{ backends.ImageVolumeContent }

func (c rottenContent) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ImageVolumeContent.ReadAt(p, off)
	if off == 0 && n > 0 {
		p[0] ^= 1
	}
	return n, err
}

// What is found damaged on a backend that has left, and come back, while it was read serves there no more.
func TestWhatIsFoundDamagedOnABackendThatHasComeBack(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(memory()))
	r.image(t, "disk.raw", mib)
	b := &rotten{Memory: memory(), opened: make(chan struct{}, 1), read: make(chan struct{})}
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{another(b)}})
	ask := func(volume backends.VolumeName) plugin.Answer {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "other", Image: "library:disk.raw", Volume: volume})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := ask("v1")
	b.is.Store(true)
	scrubbed := make(chan error, 1)
	go func() {
		_, err := r.Controls().Scrub(t.Context(), plugin.ScrubRequest{Backend: "other", Share: 100})
		scrubbed <- err
	}()
	<-b.opened
	r.set(t, plugin.Limits{Gone: []backends.Name{"other"}})
	waitFor(t, func() bool { return len(plugin.Leaving(r.Plugin)) == 0 })
	r.set(t, plugin.Limits{Backends: []plugin.BackendConfig{another(b)}})
	wantHit(t, r, "other", "library:disk.raw", "v2")
	close(b.read)
	if err := <-scrubbed; err != nil {
		t.Fatal(err)
	}
	if e, err := r.Entry(t.Context(), first.EntryID); err != nil || e.QuarantinedAt == nil {
		t.Fatalf("what was read: %+v, %v, want it in quarantine", e, err)
	}
	if a := ask("v3"); a.Outcome == plugin.Hit || a.EntryID == first.EntryID {
		t.Errorf("from what is in quarantine: %+v", a)
	}
}
