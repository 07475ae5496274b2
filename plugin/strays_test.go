package plugin_test

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

func (c *capable) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return func(yield func(backends.ImageVolume, error) bool) {
		for iv, err := range c.Memory.ListImageVolumes(ctx) {
			if !c.strays[iv.ID] && !yield(iv, err) {
				return
			}
		}
	}
}

func (c *capable) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	if c.strays[id] {
		return backends.Retired{}, backends.ErrNotExist
	}
	return c.Memory.Retire(ctx, id)
}

func (c *capable) ListStrays(context.Context) iter.Seq2[backends.Stray, error] {
	return func(yield func(backends.Stray, error) bool) {
		for id := range c.strays {
			if !yield(backends.Stray{Place: "pool/" + string(id), ImageVolume: id, Detail: "no index names it", Remedy: "it is put back", Recoverable: true}, nil) {
				return
			}
		}
		if !c.odd {
			return
		}
		if !yield(backends.Stray{Place: "pool/odd", Volume: "odd", Detail: "odd", Remedy: "look at it"}, nil) {
			return
		}
		yield(backends.Stray{Place: "pool/broken"}, fmt.Errorf("cannot be read"))
	}
}

func (c *capable) Recover(_ context.Context, s backends.Stray) error {
	if !c.strays[s.ImageVolume] {
		return backends.ErrNotExist
	}
	delete(c.strays, s.ImageVolume)
	return nil
}

func TestADeepCheckFindsStraysAndPutsThemBack(t *testing.T) {
	for _, c := range []struct {
		name string
		lost func(t *testing.T, r *rig) // what else is lost
	}{
		{"their entry is there", func(*testing.T, *rig) {}},
		{"their entry was dropped", func(t *testing.T, r *rig) {
			if _, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, backend := memoryRig(t)
			r.create(t, "gated:disk", "v1", 0)
			e := r.wantEntries(t, 1)[0]
			stray := backends.ImageVolumeID(e.ImageVolume)
			backend.strays[stray], backend.odd = true, true
			c.lost(t, r)
			got, err := r.Check(t.Context(), plugin.CheckOptions{Deep: true, Repair: true})
			if err != nil || len(got.Problems) < 3 {
				t.Fatalf("check: got %+v, %v", got, err)
			}
			for i, want := range []struct {
				kind     string
				repaired bool
			}{{"stray-image-volume", true}, {"stray-volume", false}, {"unreadable", false}} {
				if p := got.Problems[i]; p.Kind != want.kind || p.Repaired != want.repaired {
					t.Errorf("problem %d: got %+v, want a %s, repaired %v", i, p, want.kind, want.repaired)
				}
			}
			if len(backend.strays) != 0 {
				t.Errorf("strays are left: %v", backend.strays)
			}
			if a := r.create(t, "gated:disk", "v2", 0); a.Outcome != plugin.Hit || a.EntryID != e.ID {
				t.Errorf("afterwards: got %+v, want a hit of entry %s", a, e.ID)
			}
			if _, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true}); err != nil {
				t.Fatal(err)
			}
			if again, err := r.Check(t.Context(), plugin.CheckOptions{}); err != nil || !again.OK {
				t.Errorf("a check afterwards: got %+v, %v", again, err)
			}
		})
	}
}
