package cinder_test

import (
	"context"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// That a volume has gone which was to be another generation says nothing of the image-volume, which others have on loan.
func TestAGenerationThatGoesInTheMakingHarmsNoLoan(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	first := c.lend(t, "debian", "v1")
	c.end(t, c.lend(t, "debian", "v2"), backends.Full)
	c.cinder.With(func() { c.cinder.Making = 1 << 30 })
	answered := make(chan plugin.Answer)
	go func() {
		defer close(answered)
		answered <- c.lend(t, "debian", "v3")
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for gone := false; !gone; {
		select {
		case a := <-answered:
			t.Fatalf("answered before another generation was made: %+v", a)
		case <-tick.C:
		}
		c.cinder.With(func() {
			for id, v := range c.cinder.Volumes {
				if v.Metadata["clonecache_generation"] == "2" {
					delete(c.cinder.Volumes, id)
					c.cinder.Making, gone = 1, true
				}
			}
		})
	}
	if a := <-answered; a.Outcome != plugin.Bypassed {
		t.Errorf("whose generation has gone: %+v, want a bypass", a)
	}
	if all := c.cinder.All(); len(all) != 1 || all[0].ID != string(first.Generation) {
		t.Errorf("Cinder has %+v, want the volume that is lent", all)
	}
	if e, err := c.Entry(t.Context(), first.EntryID); err != nil || e.State != "ready" {
		t.Errorf("entry: %+v, %v, want it ready", e, err)
	}
	if a := c.lend(t, "debian", "v4"); a.Outcome != plugin.Hit || a.Generation == first.Generation {
		t.Errorf("the next one: %+v, want a hit of another generation", a)
	}
}

// Where somebody deleted the first generation in Cinder, the image-volume is no use any more; a later one may be on loan all the same.
func TestAGenerationOnLoanOutlivesTheFirstOne(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	first := c.lend(t, "debian", "v1")
	c.end(t, first, backends.Full)
	lent := c.lend(t, "debian", "v2")
	if lent.EntryID != first.EntryID || lent.Generation == first.Generation {
		t.Fatalf("got %+v, want another generation", lent)
	}
	gone := c.lend(t, "debian", "v3")
	c.cinder.With(func() { delete(c.cinder.Volumes, string(first.Generation)) })
	c.end(t, gone, backends.Gone)
	answered := make(chan plugin.Answer, 1)
	go func() {
		defer close(answered)
		answered <- c.lend(t, "debian", "v4")
	}()
	select {
	case a := <-answered:
		t.Errorf("while a generation is lent: %+v, want that this is waited for", a)
	case <-time.After(time.Second): // it would have gone by now
	}
	if all := c.cinder.All(); len(all) != 1 || all[0].ID != string(lent.Generation) {
		t.Errorf("while it is lent, Cinder has %+v", all)
	}
	c.end(t, lent, backends.Made)
	if a := <-answered; a.Outcome != plugin.Filled || a.EntryID == lent.EntryID {
		t.Errorf("once it is back: %+v, want the image filled anew", a)
	}
}

// A generation that is being made goes on when all who wanted it have left. What it writes it has written once the plugin is closed.
func TestAStopWaitsForAGeneration(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	c.end(t, c.lend(t, "debian", "v1"), backends.Full)
	c.cinder.With(func() { c.cinder.Making = 1 << 30 })
	asks, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := c.CreateVolume(asks, plugin.Request{Backend: "lvm", Image: "library:debian.raw", Volume: "v2", SizeBytes: 1 << 30, Lend: true})
		left <- err
	}()
	c.second(t)
	leave()
	if err := <-left; err == nil {
		t.Error("who left was lent a generation that is not made")
	}
	closed := make(chan error, 1)
	go func() { closed <- c.Close(context.WithoutCancel(t.Context())) }()
	select {
	case err := <-closed:
		t.Errorf("closed (%v) while a generation was made", err)
	case <-time.After(100 * time.Millisecond): // it would have been by now
	}
	c.cinder.With(func() { c.cinder.Making = 1 })
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if v := c.second(t); v.Metadata["clonecache_image_volume"] == "" || v.Metadata["clonecache_state"] != "in-use" {
		t.Errorf("closed, and the generation is %+v", v)
	}
}

// second waits for the second generation that Cinder was asked for.
func (c *cloud) second(t *testing.T) cindertest.Volume {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for _, v := range c.cinder.All() {
			if v.Metadata["clonecache_generation"] == "2" {
				return v
			}
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("no second generation was asked for")
		}
	}
}
