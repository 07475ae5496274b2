package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// startOn asks for a volume, and says which phases its requester was told of.
func (r *rig) startOn(on backends.Name, image, volume string) (<-chan result, <-chan plugin.Progress) {
	told := make(chan plugin.Progress, 1)
	return r.start(plugin.Request{Backend: on, Image: image, Volume: backends.VolumeName(volume), Progress: func(p plugin.Progress) {
		if p.Phase == "waiting" {
			select {
			case told <- p:
			default:
			}
		}
	}}), told
}

// One that waits for a place of its backend says so, keeps none from other backends' fills, and begins once a reload raises the bound.
func TestABackendsPlacesAreItsOwn(t *testing.T) {
	dir := fstest.Mount(t, fstest.XFS, 512*mib)
	source := newGatedSource()
	r := newRig(t, dir, lru.Bounds{}, withSource(source), withBackends(t, dir, "second"), func(c *plugin.Config) {
		c.FillLimit = 2
		c.Backends[0].MaxFills = 1
	})
	for i := range 3 {
		source.put(fmt.Sprint("disk-", i), "1", random(mib))
	}
	first, _ := r.startOn("local", "gated:disk-0", "v0")
	<-source.half
	second, told := r.startOn("local", "gated:disk-1", "v1")
	if p := <-told; p.WaitsFor != plugin.BoundBackend {
		t.Errorf("who waits is told %+v, want that it waits for the backend", p)
	}
	waits := slices.ContainsFunc(r.Fills(), func(v plugin.FillView) bool { return v.WaitsFor == plugin.BoundBackend })
	if !waits {
		t.Errorf("fills: %+v, want one that waits for its backend", r.Fills())
	}
	r.image(t, "disk.raw", mib)
	if a, err := r.CreateVolume(t.Context(), plugin.Request{Backend: "second", Image: "library:disk.raw", Volume: "other"}); err != nil || a.Outcome != plugin.Filled {
		t.Errorf("another backend's: %+v, %v, want it filled", a, err)
	}
	if n := source.opened.Load(); n != 1 {
		t.Errorf("%d downloads at once, want one", n)
	}
	if err := r.Controls().SetLimits(plugin.Limits{Backends: []plugin.BackendConfig{{Name: "local"}}, FillLimit: 2}); err != nil {
		t.Fatal(err)
	}
	<-source.half
	close(source.gate)
	for _, answered := range []<-chan result{first, second} {
		if a := <-answered; a.err != nil || a.a.Outcome != plugin.Filled {
			t.Errorf("%+v, want it filled", a)
		}
	}
	checkClean(t, r)
}

// What waits in the queue for a place of its backend keeps no worker from another backend's image, be it of the same one.
func TestTheQueueGoesOnWhereABackendHasNoPlace(t *testing.T) {
	dir := fstest.Mount(t, fstest.XFS, 512*mib)
	source := newGatedSource()
	r := newRig(t, dir, lru.Bounds{}, quick, withSource(source), withBackends(t, dir, "second"), func(c *plugin.Config) {
		c.FillLimit = 3
		c.Backends[0].MaxFills = 1
	})
	source.put("disk", "1", random(mib))
	first := r.start(plugin.Request{Backend: "local", Image: "gated:disk", Volume: "v"})
	<-source.half // the only place of local
	var images []string
	for i := range 6 {
		name := fmt.Sprint("disk-", i, ".raw")
		r.image(t, name, mib)
		images = append(images, "library:"+name)
	}
	r.prefetch(t, plugin.Prefetch{Images: images, Backends: []backends.Name{"local", "second"}})
	waitFor(t, func() bool {
		done := 0
		for _, v := range r.queued(t) {
			switch {
			case v.Backend == "second" && v.State == "done":
				done++
			case v.Backend == "local" && v.State == "done":
				t.Fatalf("%+v was filled, though all places are taken", v)
			}
		}
		return done == len(images)
	})
	close(source.gate)
	if a := <-first; a.err != nil || a.a.Outcome != plugin.Filled {
		t.Errorf("%+v, want it filled", a)
	}
	for _, v := range r.waitForState(t, "done", 2*len(images)) {
		if v.Attempts != 1 || v.LastError != "" {
			t.Errorf("%+v: to go back for want of a place is no attempt", v)
		}
	}
	checkClean(t, r)
}

// servedBackend has a service that fills image-volumes from images by itself.
type servedBackend struct {
	*backendtest.Memory
	begun chan struct{}
	gate  chan struct{}
}

// Fill implements backends.Filler.
func (b *servedBackend) Fill(ctx context.Context, _ backends.ImageVolumeStage, filled func(int64)) error {
	b.begun <- struct{}{}
	select {
	case <-b.gate:
		filled(mib)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Fills that another service makes keep to their backend's bound, and need none of the places for what is read here.
func TestAServicesFillsKeepToTheirBackendsBound(t *testing.T) {
	b := &servedBackend{Memory: backendtest.NewMemory(backendtest.MemoryConfig{}), begun: make(chan struct{}, 10), gate: make(chan struct{})}
	source := newGatedSource()
	r := newRig(t, t.TempDir(), lru.Bounds{}, withSource(source), withBackend(b), func(c *plugin.Config) {
		c.FillLimit = 1
		c.Backends[0].MaxFills = 2
	})
	var answers []<-chan result
	for i := range 3 {
		source.put(fmt.Sprint("disk-", i), "1", random(mib))
	}
	for i := range 2 {
		a, _ := r.startOn("local", fmt.Sprint("gated:disk-", i), fmt.Sprint("v", i))
		answers = append(answers, a)
		<-b.begun
	}
	third, told := r.startOn("local", "gated:disk-2", "v2")
	if p := <-told; p.WaitsFor != plugin.BoundBackend {
		t.Errorf("who waits is told %+v, want that it waits for the backend", p)
	}
	close(b.gate)
	for _, answered := range append(answers, third) {
		if a := <-answered; a.err != nil || a.a.Outcome != plugin.Filled {
			t.Errorf("%+v, want it filled", a)
		}
	}
}

func TestANegativeBoundOfFillsIsRefused(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{}, withBackend(newCapable()))
	wrong := []plugin.BackendConfig{{Name: "local", MaxFills: -1}}
	if err := r.Controls().SetLimits(plugin.Limits{Backends: wrong}); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("limits: %v, want ErrBadRequest", err)
	}
	r.config.StateDir = t.TempDir()
	r.config.Backends[0].MaxFills = -1
	if _, err := plugin.Open(t.Context(), r.config); !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("open: %v, want ErrBadRequest", err)
	}
}
