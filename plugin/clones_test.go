package plugin_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/lru"
)

// lookedAt counts how often its image-volumes are looked at.
type lookedAt struct {
	*backendtest.Memory
	looks atomic.Int64
}

func (l *lookedAt) StatImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	l.looks.Add(1)
	return l.Memory.StatImageVolume(ctx, id)
}

// behindOurBack removes a volume as its owner does.
func behindOurBack(t *testing.T, b *backendtest.Memory, volume string) {
	t.Helper()
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: backends.VolumeName(volume)}); err != nil {
		t.Fatal(err)
	}
}

// Clones that their owners have deleted are no problem, are not shown, and cost requests nothing.
func TestDeletedClonesAreNoticedWhereTheyAreShown(t *testing.T) {
	for name, show := range map[string]func(t *testing.T, r *rig, id string) int{
		"entry list": func(t *testing.T, r *rig, _ string) int { return r.wantEntries(t, 1)[0].Clones },
		"entry show": func(t *testing.T, r *rig, id string) int {
			e, err := r.Entry(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return e.Clones
		},
		"check, then the catalog": func(t *testing.T, r *rig, id string) int {
			checkClean(t, r)
			e, err := r.SetPinned(t.Context(), id, true)
			if err != nil {
				t.Fatal(err)
			}
			return e.Clones
		},
	} {
		t.Run(name, func(t *testing.T) {
			backend := &lookedAt{Memory: backendtest.NewMemory(backendtest.MemoryConfig{})}
			source := newGatedSource()
			close(source.gate)
			source.put("disk", "1", random(mib))
			r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
			var id string
			for i := range 3 {
				id = r.create(t, "gated:disk", fmt.Sprint("v", i), 0).EntryID
			}
			if n := backend.looks.Load(); n > 0 {
				t.Errorf("requests looked at image-volumes %d times", n)
			}
			behindOurBack(t, backend.Memory, "v0")
			behindOurBack(t, backend.Memory, "v2")
			if got := show(t, r, id); got != 1 {
				t.Errorf("got %d clones, want 1", got)
			}
			behindOurBack(t, backend.Memory, "v1")
			checkClean(t, r)
		})
	}
}

// However many entries are listed, the backend is asked about few of them, once in a while.
func TestListingLooksAtFew(t *testing.T) {
	backend := &lookedAt{Memory: backendtest.NewMemory(backendtest.MemoryConfig{})}
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend))
	const n = 20
	for i := range n {
		source.put(fmt.Sprint("disk", i), "1", random(4096))
		r.create(t, fmt.Sprint("gated:disk", i), fmt.Sprint("v", i), 0)
	}
	for range 10 {
		r.wantEntries(t, n)
	}
	if got := backend.looks.Load(); got != n {
		t.Errorf("%d looks for 10 listings of %d entries, want one each", got, n)
	}
}

// An entry whose image-volume somebody has retired behind our back is in use no longer than its clones live: it goes before
// one that is in use.
func TestALostEntryWithoutClonesGoesBeforeOneInUse(t *testing.T) {
	backend := backendtest.NewMemory(backendtest.MemoryConfig{})
	source := newGatedSource()
	close(source.gate)
	r := newRig(t, t.TempDir(), lru.Bounds{MaxCount: 2}, withSource(source), withBackend(backend))
	for _, image := range []string{"used", "lost", "new"} {
		source.put(image, "1", random(mib))
	}
	r.create(t, "gated:used", "v-used", 0)
	used := r.wantEntries(t, 1)[0]
	a := r.create(t, "gated:lost", "v-lost", 0)
	lost, err := r.Entry(t.Context(), a.EntryID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backend.Retire(t.Context(), backends.ImageVolumeID(lost.ImageVolume)); err != nil {
		t.Fatal(err)
	}
	behindOurBack(t, backend, "v-lost")
	r.create(t, "gated:new", "v-new", 0)
	if e, err := r.Entry(t.Context(), used.ID); err != nil || e.State != "ready" {
		t.Errorf("the one in use: %+v, %v, want it ready", e, err)
	}
	r.wantEntries(t, 2)
	checkClean(t, r)
}
