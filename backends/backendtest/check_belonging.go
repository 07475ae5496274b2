package backendtest

import (
	"errors"
	"slices"
	"sync"

	"github.com/clonecache/clonecache/backends"
)

var belongingChecks = []check{
	{"AStoreHasOneIdentity", oneIdentity},
	{"AStoreIsHeldByOne", heldByOne},
	{"OfSeveralHoldersAtOnceOneSucceeds", oneOfSeveralHolders},
	{"TakingOverTellsWhoseItWas", takingOver},
}

// oneIdentity asks several at once, before and after there is something to be held.
func oneIdentity(s *suite) {
	const askers = 4
	got := make([]backends.Identity, askers)
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() {
			var err error
			if got[i], err = s.store.Identify(s.ctx()); err != nil {
				s.Errorf("identify: %v", err)
			}
		})
	}
	all.Wait()
	s.commit("e-1")
	s.must(s.store.HoldFor(s.ctx(), holder("a")))
	again, err := s.store.Identify(s.ctx())
	s.must(err)
	if again.ID == "" {
		s.Error("the store has no ID")
	}
	for _, id := range got {
		if id.ID != again.ID || !slices.Equal(id.Places, again.Places) {
			s.Errorf("the store was %+v and is %+v", id, again)
		}
	}
}

func holder(catalog backends.CatalogID) backends.Holder {
	return backends.Holder{Catalog: catalog, Host: "host-" + string(catalog), StateDir: "/state"}
}

// wantHeld complains if a store is not refused to h because it is by's.
func (s *suite) wantHeld(err error, by backends.CatalogID) {
	s.Helper()
	var held *backends.HeldError
	if !errors.Is(err, backends.ErrHeld) || !errors.As(err, &held) || held.By.Catalog != by || held.By.Host != holder(by).Host {
		s.Errorf("hold: got %v, want that it is held by %s", err, by)
	}
}

func heldByOne(s *suite) {
	s.must(s.store.HoldFor(s.ctx(), holder("a")))
	s.wantHeld(s.store.HoldFor(s.ctx(), holder("b")), "a")
	moved := holder("a")
	moved.StateDir = "/elsewhere"
	if err := s.store.HoldFor(s.ctx(), moved); err != nil {
		s.Errorf("its own holder is refused: %v", err)
	}
	s.wantHeld(s.store.HoldFor(s.ctx(), holder("b")), "a")
	s.wantImages(states{})
}

func oneOfSeveralHolders(s *suite) {
	const several = 8
	errs := make([]error, several)
	var all sync.WaitGroup
	for i := range several {
		all.Go(func() { errs[i] = s.store.HoldFor(s.ctx(), holder(backends.CatalogID(rune('a'+i)))) })
	}
	all.Wait()
	succeeded := 0
	for _, err := range errs {
		if err == nil {
			succeeded++
		} else if !errors.Is(err, backends.ErrHeld) {
			s.Errorf("hold: %v", err)
		}
	}
	if succeeded != 1 {
		s.Errorf("%d of %d holders succeeded, want one", succeeded, several)
	}
}

func takingOver(s *suite) {
	s.commit("e-1")
	for _, c := range []struct{ by, was backends.CatalogID }{{"a", ""}, {"b", "a"}, {"b", "b"}} {
		was, err := s.store.TakeOver(s.ctx(), holder(c.by))
		s.must(err)
		if was.Catalog != c.was {
			s.Errorf("%s takes the store over: it was %q's, want %q's", c.by, was.Catalog, c.was)
		}
	}
	s.wantHeld(s.store.HoldFor(s.ctx(), holder("a")), "b")
	if err := s.store.HoldFor(s.ctx(), holder("b")); err != nil {
		s.Errorf("who has taken the store over is refused: %v", err)
	}
	s.wantImages(states{"e-1": backends.Committed})
}
