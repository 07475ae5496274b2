package cinder_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// Cinder's volumes may have equal names: what one host makes is there for the others only once Cinder has been asked for it.

// named are hosts on one catalog that have the image cached, and one name.
type named struct {
	hosts []*cloud
	fake  *cindertest.Cinder
	path  string // of the catalog
}

func newNamed(t *testing.T, n int) *named {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shared.db")
	c := &named{hosts: newClouds(t, n, path, time.Hour), path: path}
	c.fake = c.hosts[0].cinder
	for i, h := range c.hosts {
		offered(t, h, transferred(fmt.Sprintf("first-%d", i)))
	}
	return c
}

// ask asks a host, and does not wait.
func ask(t *testing.T, h *cloud, r plugin.Request) <-chan asked {
	done := make(chan asked, 1)
	go func() {
		a, err := h.CreateVolume(t.Context(), r)
		done <- asked{a, err}
	}()
	return done
}

type asked struct {
	plugin.Answer
	err error
}

// gate lets the first volume that Cinder is asked for wait until it opens. Asked is told of each.
type gate struct {
	asked chan struct{}
	open  func()
}

// shut shuts it: whoever is behind it has looked for the name, and Cinder does not know of its volume yet.
func (c *named) shut() gate {
	g := gate{asked: make(chan struct{}, 16)}
	open := make(chan struct{})
	g.open = sync.OnceFunc(func() { close(open) })
	var n atomic.Int64
	c.fake.With(func() {
		c.fake.Coming = func(r *http.Request) int {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/volumes") {
				g.asked <- struct{}{}
				if n.Add(1) == 1 {
					<-open
				}
			}
			return 0
		}
	})
	return g
}

// mine are Cinder's volumes of the name.
func (c *named) mine() (all []cindertest.Volume) {
	for _, v := range c.fake.All() {
		if v.Name == "mine" {
			all = append(all, v)
		}
	}
	return all
}

// one: Cinder has one volume of the name, of that ID, and the hosts find nothing wrong.
func (c *named) one(t *testing.T, id backends.VolumeID) {
	t.Helper()
	if all := c.mine(); len(all) != 1 || all[0].ID != string(id) {
		t.Errorf("Cinder has %+v of that name, want %s alone", all, id)
	}
	for _, h := range c.hosts {
		if found, err := h.Check(t.Context(), plugin.CheckOptions{}); err != nil || len(found.Problems) != 0 {
			t.Errorf("%s: check: %+v, %v", h.name, found, err)
		}
	}
}

func (a asked) made(t *testing.T, what string) plugin.Answer {
	t.Helper()
	if a.err != nil || a.VolumeID == "" {
		t.Fatalf("%s: %+v, %v, want a volume", what, a.Answer, a.err)
	}
	return a.Answer
}

func plain() plugin.Request {
	r := transferred("mine")
	r.Transfer = false
	return r
}

// Two hosts that are asked for one name at the same instant make one volume; both tell of it, or one is refused who was not
// offered it.
func TestTwoHostsAskedAtOnceMakeOneVolume(t *testing.T) {
	for name, request := range map[string]plugin.Request{"plain": plain(), "transferred": transferred("mine")} {
		t.Run(name, func(t *testing.T) {
			c := newNamed(t, 2)
			g := c.shut()
			defer g.open()
			first := ask(t, c.hosts[0], request)
			<-g.asked
			second := ask(t, c.hosts[1], request)
			select {
			case <-g.asked:
				t.Error("Cinder was asked for two volumes of one name")
			case a := <-second:
				t.Fatalf("the second host answered before there was a volume: %+v, %v", a.Answer, a.err)
			case <-time.After(time.Second): // it would have asked by now
			}
			g.open()
			a := (<-first).made(t, "the first host")
			b := <-second
			if request.Transfer {
				is(t, "the second host", b.err, plugin.ErrOffered)
				accept(t, c.hosts[0], a)
				return
			}
			if b := b.made(t, "the second host"); b.VolumeID != a.VolumeID || b.Reason != plugin.ReasonRepeated {
				t.Errorf("got %+v, then %+v, want one volume", a, b)
			}
			c.one(t, a.VolumeID)
		})
	}
}

// A host that was stopped between its look and its volume finds that another one has made one: its own goes.
func TestAStoppedHostsSecondVolumeGoes(t *testing.T) {
	for name, request := range map[string]plugin.Request{"plain": plain(), "transferred": transferred("mine")} {
		t.Run(name, func(t *testing.T) {
			c := newNamed(t, 2)
			g := c.shut()
			defer g.open()
			stopped := ask(t, c.hosts[0], request)
			<-g.asked
			loseDuty(t, c.path, catalog.DutyMake)
			b := (<-ask(t, c.hosts[1], request)).made(t, "the other host")
			g.open()
			a := <-stopped
			if request.Transfer {
				is(t, "the stopped host", a.err, plugin.ErrOffered)
			} else if a := a.made(t, "the stopped host"); a.VolumeID != b.VolumeID {
				t.Errorf("got %s, want the other host's %s", a.VolumeID, b.VolumeID)
			}
			c.one(t, b.VolumeID)
			if request.Transfer {
				accept(t, c.hosts[0], b)
			}
		})
	}
}

// A host that is stopped while Cinder makes its volume keeps others from the name for a lease. They find that volume then, and answer
// with it once it is whole, as does the host if it goes on.
func TestAStoppedHostsOnlyVolumeStays(t *testing.T) {
	c := newNamed(t, 2)
	c.fake.With(func() { c.fake.Making = 1 << 30 })
	stopped := ask(t, c.hosts[0], plain())
	awaitNamed(t, c)
	other := ask(t, c.hosts[1], plain())
	select {
	case a := <-other:
		t.Fatalf("while the lease runs: %+v, %v", a.Answer, a.err)
	case <-time.After(time.Second): // it would have answered by now
	}
	loseDuty(t, c.path, catalog.DutyMake)
	early := <-other
	is(t, "while Cinder makes it", early.err, plugin.ErrConflict)
	if early.err == nil || !strings.Contains(early.err.Error(), "repeat this one in a while") {
		t.Errorf("got %v, want the request repeated: the volume is the one that it asks for", early.err)
	}
	c.fake.With(func() { c.fake.Making = 1 })
	a := (<-stopped).made(t, "the stopped host")
	b := (<-ask(t, c.hosts[1], plain())).made(t, "the other host")
	if a.VolumeID != b.VolumeID {
		t.Errorf("got %s and %s, want one volume", a.VolumeID, b.VolumeID)
	}
	c.one(t, a.VolumeID)
}

// awaitNamed waits until Cinder makes a volume of the name.
func awaitNamed(t *testing.T, c *named) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for len(c.mine()) == 0 {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("no volume was begun")
		}
	}
}

// Of several volumes of one name, as an earlier version may have left them, none is taken for the other, nor deleted but by its ID.
func TestSeveralVolumesOfOneNameAreRefused(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	a := (<-ask(t, c, plain())).made(t, "the first one")
	c.cinder.With(func() {
		twin := *c.cinder.Volumes[string(a.VolumeID)]
		twin.ID = "00000000-0000-4000-8000-00000000000a"
		c.cinder.Volumes[twin.ID] = &twin
	})
	_, err := c.CreateVolume(t.Context(), plain())
	is(t, "ask for it", err, plugin.ErrConflict)
	if err == nil || !strings.Contains(err.Error(), string(a.VolumeID)) || !strings.Contains(err.Error(), "00000000-0000-4000-8000-00000000000a") {
		t.Errorf("got %v, want both IDs told", err)
	}
	_, err = c.CreateVolume(t.Context(), transferred("mine"))
	is(t, "ask for it to be transferred", err, plugin.ErrConflict)
	is(t, "delete it", c.DeleteVolume(t.Context(), "lvm", "mine"), plugin.ErrConflict)
	if c.made() != 2 {
		t.Errorf("Cinder has %d volumes, want both still", c.made())
	}
	c.cinder.With(func() { delete(c.cinder.Volumes, "00000000-0000-4000-8000-00000000000a") })
	is(t, "delete the one that is left", c.DeleteVolume(t.Context(), "lvm", "mine"), nil)
}

// A request whose first look for an offer fails makes no offer void that another host has made since.
func TestAnOfferBehindAFailedLookStays(t *testing.T) {
	c := newNamed(t, 2)
	var told plugin.Answer
	var once sync.Once
	c.fake.With(func() {
		c.fake.Coming = func(r *http.Request) (status int) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.RawQuery, "mine") {
				once.Do(func() { status = http.StatusServiceUnavailable })
			}
			if status != 0 {
				told = offered(t, c.hosts[1], transferred("mine"))
			}
			return status
		}
	})
	_, err := c.hosts[0].CreateVolume(t.Context(), transferred("mine"))
	is(t, "the request whose look failed", err, plugin.ErrOffered)
	again := offered(t, c.hosts[0], transferred("mine")) // whoever asks now has not had the answer
	if _, err := c.fake.Accept(told.Transfer.ID, string(told.Transfer.Key)); err == nil {
		t.Error("what was offered before the repeated request still takes the volume over")
	}
	accept(t, c.hosts[0], again)
}

// What becomes of a volume that was made while its host was held up, and then reached nobody: another host may have told of it.
func TestAnUndeliveredVolumeThatMayBeToldOfStays(t *testing.T) {
	c := newNamed(t, 2)
	r := plain()
	var told plugin.Answer
	r.Deliver = func(plugin.Answer) error {
		loseDuty(t, c.path, catalog.DutyMake)
		told = (<-ask(t, c.hosts[1], plain())).made(t, "the other host")
		return errors.New("nobody listens")
	}
	wantBypassed(t, c.hosts[0], r, plugin.ReasonUndelivered)
	if all := c.mine(); len(all) != 1 || all[0].ID != string(told.VolumeID) {
		t.Errorf("Cinder has %+v, want %s, of which somebody was told", all, told.VolumeID)
	}
}
