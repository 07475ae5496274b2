package cinder_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// looked tells of each look for the offer of a volume, before Cinder answers it.
func looked(f *cindertest.Cinder) (seen <-chan struct{}) {
	at := make(chan struct{}, 16)
	f.With(func() {
		f.Coming = func(r *http.Request) int {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "-transfer/detail") {
				at <- struct{}{}
			}
			return 0
		}
	})
	return at
}

// Who asks for a volume while another request for it is answered has not missed that answer: the offer stays that it tells of,
// whichever host is asked, and whether the volume was made for that request or an earlier one.
func TestAnOfferThatIsBeingToldIsNotReplaced(t *testing.T) {
	for name, do := range map[string]struct {
		host  int
		found bool
	}{
		"by the same host": {}, "by another host": {host: 1},
		"by the same host, of one that is there": {found: true}, "by another host, of one that is there": {host: 1, found: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newNamed(t, 2)
			if do.found {
				offered(t, c.hosts[1], transferred("mine"))
			}
			seen := looked(c.fake)
			later := make(chan asked, 1)
			r := transferred("mine")
			r.Deliver = func(plugin.Answer) error { // the offer is there, and nobody was told of it
				for len(seen) > 0 {
					<-seen // its own
				}
				answered := ask(t, c.hosts[do.host], transferred("mine"))
				<-seen
				go func() { later <- <-answered }()
				return nil
			}
			told := offered(t, c.hosts[0], r)
			select {
			case a := <-later:
				is(t, "the request that came meanwhile", a.err, plugin.ErrOffered)
			case <-time.After(time.Minute):
				t.Fatal("nobody was told of the offer while the name was kept")
			}
			again := offered(t, c.hosts[do.host], transferred("mine")) // whoever asks now has not had the answer
			if _, err := c.fake.Accept(told.Transfer.ID, string(told.Transfer.Key)); err == nil {
				t.Error("what was offered before the repeated request still takes the volume over")
			}
			accept(t, c.hosts[0], again)
		})
	}
}

// A repeated request whose answer reaches nobody leaves the volume, of which an earlier one may have told, to whoever asks again.
func TestARepeatedAnswerThatReachesNobodyIsOfferedAnew(t *testing.T) {
	c := newNamed(t, 2)
	first := offered(t, c.hosts[0], transferred("mine"))
	r := transferred("mine")
	r.Deliver = func(plugin.Answer) error { return errors.New("nobody listens") }
	wantBypassed(t, c.hosts[1], r, plugin.ReasonUndelivered)
	again := offered(t, c.hosts[0], transferred("mine"))
	if again.VolumeID != first.VolumeID {
		t.Errorf("got volume %s, then %s, want one", first.VolumeID, again.VolumeID)
	}
	accept(t, c.hosts[0], again)
}

// The offer of a host that dies before its answer is told to nobody: the request that waits for the name replaces it.
func TestAnOfferOfADeadHostIsReplaced(t *testing.T) {
	c := newNamed(t, 2)
	seen := looked(c.fake)
	later := make(chan asked, 1)
	var first atomic.Bool
	c.fake.With(func() {
		c.fake.Going = func(r *http.Request) { // as if the host stood still here for good
			if !offers(r) || !first.CompareAndSwap(false, true) {
				return
			}
			answered := ask(t, c.hosts[1], transferred("mine"))
			<-seen
			loseDuty(t, c.path, catalog.DutyMake)
			later <- <-answered
		}
	})
	dead := <-ask(t, c.hosts[0], transferred("mine"))
	is(t, "the host, had it not died", dead.err, plugin.ErrOffered)
	accept(t, c.hosts[1], (<-later).made(t, "the other host"))
}

// A host that dies while it answers may have told of its offer: who waits for the name leaves it, and who asks then replaces it.
func TestAnOfferThatADeadHostMayHaveToldStays(t *testing.T) {
	c := newNamed(t, 2)
	seen := looked(c.fake)
	var later asked
	r := transferred("mine")
	r.Deliver = func(plugin.Answer) error { // as if the host stood still here for good
		answered := ask(t, c.hosts[1], transferred("mine"))
		<-seen
		loseDuty(t, c.path, catalog.DutyMake)
		later = <-answered
		return nil
	}
	told := offered(t, c.hosts[0], r)
	is(t, "the request that came meanwhile", later.err, plugin.ErrOffered)
	again := offered(t, c.hosts[1], transferred("mine"))
	if again.VolumeID != told.VolumeID {
		t.Errorf("got volume %s, then %s, want one", told.VolumeID, again.VolumeID)
	}
	accept(t, c.hosts[0], again)
}

// offers tells whether a call offers a volume.
func offers(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "-transfer")
}

// A host that is stopped between its offer and its answer tells nobody of a key that another host has made void meanwhile, whether it
// made the volume or found it. Where nobody did, it offers the volume anew.
func TestAKeyThatIsVoidIsNotTold(t *testing.T) {
	for name, do := range map[string]struct{ found, asked bool }{
		"of a volume that it makes": {asked: true}, "of one that is there": {found: true, asked: true},
		"of a volume that it makes, while nobody asks": {}, "of one that is there, while nobody asks": {found: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newNamed(t, 2)
			if do.found {
				offered(t, c.hosts[0], transferred("mine"))
			}
			var later asked
			var first atomic.Bool
			c.fake.With(func() {
				c.fake.Going = func(r *http.Request) {
					if !offers(r) || !first.CompareAndSwap(false, true) {
						return
					}
					loseDuty(t, c.path, catalog.DutyMake)
					if do.asked {
						later = <-ask(t, c.hosts[1], transferred("mine"))
					}
				}
			})
			stopped := <-ask(t, c.hosts[0], transferred("mine"))
			if do.asked {
				is(t, "the stopped host", stopped.err, plugin.ErrOffered)
			} else {
				later = stopped
			}
			a := later.made(t, "who is told")
			accept(t, c.hosts[0], a)
			if len(c.mine()) != 0 {
				t.Errorf("Cinder has %+v of that name still", c.mine())
			}
		})
	}
}
