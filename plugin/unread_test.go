package plugin_test

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// forgetful is a backend whose listing can fail, as a whole or of each image-volume.
type forgetful struct {
	*capable
	whole, each error
}

func (f *forgetful) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return func(yield func(backends.ImageVolume, error) bool) {
		if f.whole != nil {
			yield(backends.ImageVolume{}, f.whole)
			return
		}
		for iv, err := range f.capable.ListImageVolumes(ctx) {
			if f.each != nil {
				iv, err = backends.ImageVolume{ID: iv.ID}, f.each
			}
			if !yield(iv, err) {
				return
			}
		}
	}
}

// StatImageVolume fails as the listing does.
func (f *forgetful) StatImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	if err := cmp.Or(f.whole, f.each); err != nil {
		return backends.ImageVolume{ID: id}, err
	}
	return f.capable.StatImageVolume(ctx, id)
}

// forgetfulRig has one image, cached and cloned to v1, and charged like Cinder does.
func forgetfulRig(t *testing.T) (*rig, *forgetful, *cinderlike, plugin.EntryView) {
	t.Helper()
	source, backend := newGatedSource(), &forgetful{capable: newCapable()}
	close(source.gate)
	owner := newCinderlike(backend.capable)
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(backend), withOwner(owner))
	source.put("disk", "1", random(mib))
	r.create(t, "gated:disk", "v1", 0)
	return r, backend, owner, r.wantEntries(t, 1)[0]
}

func loseCatalog(t *testing.T, r *rig) {
	t.Helper()
	if err := removeCatalog(r); err != nil {
		t.Fatal(err)
	}
}

func TestAnEntryWhoseImageVolumeCannotBeReadForAMomentStays(t *testing.T) {
	r, backend, _, e := forgetfulRig(t)
	if _, err := r.SetPinned(t.Context(), e.ID, true); err != nil {
		t.Fatal(err)
	}
	r.reopen(t, func() { backend.each = backends.ErrUnavailable })
	if got, err := r.Check(t.Context(), plugin.CheckOptions{}); err != nil || got.OK || got.Problems[0].Kind != "unreadable-image-volume" {
		t.Errorf("check: %+v, %v", got, err)
	}
	backend.each = nil
	if e := r.wantEntries(t, 1)[0]; e.State != "ready" || !e.Pinned {
		t.Errorf("the entry is %s, pinned %t", e.State, e.Pinned)
	}
	if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit {
		t.Errorf("got %s/%s, want a hit", a.Outcome, a.Reason)
	}
}

func TestAnImageVolumeThatCannotBeReadForAMomentIsTakenInLater(t *testing.T) {
	for name, fail := range map[string]func(*forgetful){
		"itself":      func(b *forgetful) { b.each = backends.ErrUnavailable },
		"its backend": func(b *forgetful) { b.whole = backends.ErrUnavailable },
	} {
		t.Run(name, func(t *testing.T) {
			r, backend, owner, e := forgetfulRig(t)
			r.reopen(t, func() {
				loseCatalog(t, r)
				fail(backend)
			})
			backend.whole, backend.each = nil, nil
			if claims, err := owner.Claims(t.Context()); err != nil || len(claims) != 1 {
				t.Errorf("claims: %+v, %v", claims, err)
			}
			if _, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true}); err != nil {
				t.Fatal(err)
			}
			if again := r.wantEntries(t, 1)[0]; again.ID != e.ID || again.State != "ready" {
				t.Errorf("entry %+v, want %s again", again, e.ID)
			}
		})
	}
}

func TestAnEntryIsNotDeletedWithoutForceWhileItsClonesAreUnknown(t *testing.T) {
	r, backend, _, e := forgetfulRig(t)
	backend.each = backends.ErrUnavailable
	_, err := r.DeleteEntry(t.Context(), e.ID, false)
	all, allErr := r.DeleteAllEntries(t.Context(), "", false)
	_, storeErr := r.DeleteAllEntries(t.Context(), e.Backend, false)
	backend.each = nil
	if !errors.Is(err, backends.ErrUnavailable) || !errors.Is(storeErr, backends.ErrUnavailable) {
		t.Errorf("got %v and %v, want that the backend is unavailable", err, storeErr)
	}
	if allErr != nil || len(all.Unavailable) != 1 || len(all.Removed) != 0 {
		t.Errorf("of all: got %+v, %v, want that the backend was left out", all, allErr)
	}
	if e := r.wantEntries(t, 1)[0]; e.State != "ready" {
		t.Errorf("the entry is %s", e.State)
	}
}
