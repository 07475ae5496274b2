package plugin_test

import (
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// equalNames is a backend that says of itself that nothing keeps its volumes from having equal names.
type equalNames struct{ backends.Backend }

func (b equalNames) Info() backends.Info {
	i := b.Backend.Info()
	i.EqualNames = true
	return i
}

// onName has another daemon be on duty for a volume's name, for long.
func onName(t *testing.T, r *rig, access catalog.Access, volume backends.VolumeName) {
	t.Helper()
	other := newOtherHostOn(t, r, access)
	spec := catalog.DutySpec{Duty: catalog.DutyMake, Store: r.wantEntries(t, 1)[0].StoreID, Volume: volume, Holder: other.holder, LeaseFor: longLease}
	if _, start, err := other.TakeDuty(t.Context(), spec); err != nil || start != catalog.OnDuty {
		t.Fatalf("take duty: %v, %v", start, err)
	}
}

// Where names are unique, nobody asks the catalog for one. Where they are not, another host's turn is waited for, as long as its
// lease runs; after that one that died in it is in nobody's way.
func TestTheTurnOfANameIsHeldOnlyWhereNamesMayBeEqual(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	first := c.hosts[0]
	first.image(t, "disk.raw", mib)
	first.create(t, "library:disk.raw", "v0", 0)
	onName(t, first, c.Access, "v1")
	first.create(t, "library:disk.raw", "v1", 0)
	first.create(t, "library:disk.raw", "v1", 0) // a repeated request's look is no other

	c.own = equalNames{first.config.Backends[0].Backend}
	r := c.join(t, "host-1")
	onName(t, first, c.Access, "v2")
	r.create(t, "library:disk.raw", "v3", 0) // another name
	done := make(chan served, 1)
	go func() {
		a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:disk.raw", Volume: "v2"})
		done <- served{a, err}
	}()
	select {
	case a := <-done:
		t.Fatalf("while another host is on the name: %+v, %v", a.Answer, a.err)
	case <-time.After(time.Second): // it would have been made by now
	}
	r.noVolume(t, "v2")
	c.expire(t)
	if a := <-done; a.err != nil || a.Outcome != plugin.Hit {
		t.Errorf("once the lease has run out: %+v, %v", a.Answer, a.err)
	}
	checkClean(t, r)
}

// Without the catalog nobody can tell whether another host is making the volume, so that none is made, though its image is cached.
func TestWithoutTheCatalogNoNameIsTaken(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	c.hosts[0].image(t, "disk.raw", mib)
	c.own = equalNames{c.hosts[0].config.Backends[0].Backend}
	r := c.join(t, "host-1")
	r.create(t, "library:disk.raw", "v0", 0)
	plugin.LoseCatalog(r.Plugin)
	if a := r.create(t, "library:disk.raw", "v1", 0); a.Outcome != plugin.Bypassed || a.Reason != plugin.ReasonCatalogDown {
		t.Errorf("got %+v, want bypassed, %s", a, plugin.ReasonCatalogDown)
	}
	r.noVolume(t, "v1")
}

// A catalog that goes away while the volume is made: nobody can tell whether another host has told of it meanwhile, and it stays.
// The request finds it when it is repeated, and does not wait for the lease that its host could not give back.
func TestAVolumeWhoseTurnIsNotKnownStays(t *testing.T) {
	c := newCluster(t, 1, lru.Bounds{})
	c.hosts[0].image(t, "disk.raw", mib)
	c.own = equalNames{c.hosts[0].config.Backends[0].Backend}
	r := c.join(t, "host-1")
	r.create(t, "library:disk.raw", "v0", 0)
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:disk.raw", Volume: "v1", Progress: func(p plugin.Progress) {
		if p.Phase == "cloning" {
			c.sql(t, `ALTER TABLE duties RENAME TO duties_away`)
		}
	}})
	if err != nil || a.Outcome != plugin.Bypassed {
		t.Errorf("while the catalog is away: %+v, %v", a, err)
	}
	c.sql(t, `ALTER TABLE duties_away RENAME TO duties`)
	if a := r.create(t, "library:disk.raw", "v1", 0); a.Outcome != plugin.Hit || a.Reason != plugin.ReasonRepeated {
		t.Errorf("repeated: %+v", a)
	}
	checkClean(t, r)
}
