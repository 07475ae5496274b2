package backendtest

import (
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
)

var retireChecks = []check{
	{"IndependentClonesOutliveTheirImageVolume", independentClones},
	{"ClonesThatDependAreCounted", clonesAreCounted},
	{"RetireDetachesWhileClonesLive", retireDetaches},
	{"ReapFreesADetachedOneAfterItsLastClone", reapFreesDetached},
	{"ADetachedOnesIDStaysTaken", detachedIDStaysTaken},
	{"RetireDuringClonesNeverHarmsOne", retireDuringClones},
}

func independentClones(s *suite) {
	if !s.clones() || s.dependent() {
		return
	}
	s.commit("e-1")
	v := s.cloned("e-1", "v", "t")
	if got := s.images()["e-1"].Clones; got != 0 {
		s.Errorf("got %d clones that depend, want none", got)
	}
	r, err := s.b.Retire(s.ctx(), "e-1")
	s.must(err)
	if !r.Gone {
		s.Errorf("got %+v, want it gone", r)
	}
	s.wantImages(states{})
	s.wantVolume(v, 1)
}

func clonesAreCounted(s *suite) {
	if !s.dependent() {
		return
	}
	s.commit("e-1")
	for n := range 3 {
		if got := s.images()["e-1"].Clones; got != n {
			s.Errorf("got %d clones, want %d", got, n)
		}
		s.cloned("e-1", backends.VolumeName(fmt.Sprintf("v%d", n)), "t")
	}
	s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v1"}))
	if got := s.images()["e-1"].Clones; got != 2 {
		s.Errorf("got %d clones after one was deleted, want 2", got)
	}
}

func retireDetaches(s *suite) {
	if !s.dependent() {
		return
	}
	s.commit("e-1")
	v := s.cloned("e-1", "v", "t")
	for range 2 { // a Retire may be repeated
		r, err := s.b.Retire(s.ctx(), "e-1")
		s.must(err)
		if r.Gone || r.Clones != 1 || r.FreedBytes != 0 {
			s.Errorf("got %+v, want it detached with 1 clone", r)
		}
		s.wantImages(states{"e-1": backends.Detached})
	}
	if got := s.images()["e-1"]; got.Clones != 1 || got.HeldBytes < dataBytes || got.Description.EntryID != "entry-e-1" {
		s.Errorf("got %+v, want 1 clone, its bytes and its description", got)
	}
	s.wantVolume(v, 1)
}

func reapFreesDetached(s *suite) {
	if !s.dependent() {
		return
	}
	held := s.commit("e-1").HeldBytes
	s.cloned("e-1", "v1", "t1")
	last := s.cloned("e-1", "v2", "t2")
	_, err := s.b.Retire(s.ctx(), "e-1")
	s.must(err)
	s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v1"}))
	r, err := s.b.Reap(s.ctx())
	s.must(err)
	if len(r.ImageVolumes) != 0 {
		s.Errorf("%v was reaped while a clone lives", r.ImageVolumes)
	}
	s.wantVolume(last, 1)
	s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v2"}))
	r, err = s.b.Reap(s.ctx())
	s.must(err)
	if len(r.ImageVolumes) != 1 || r.ImageVolumes[0] != "e-1" || r.FreedBytes != held {
		s.Errorf("got %+v, want e-1 and %d bytes", r, held)
	}
	s.wantImages(states{})
}

func detachedIDStaysTaken(s *suite) {
	if !s.dependent() {
		return
	}
	s.commit("e-1")
	v := s.cloned("e-1", "v", "t")
	_, err := s.b.Retire(s.ctx(), "e-1")
	s.must(err)
	st := s.stage("e-2") // the next attempt has an ID of its own
	_, err = st.Commit(s.ctx(), description("e-2"))
	s.must(err)
	s.wantImages(states{"e-1": backends.Detached, "e-2": backends.Committed})
	s.wantVolume(v, 1)
}

// Whatever moment a Retire comes at: each clone is whole, or answers that there is nothing to clone and
// leaves nothing.
func retireDuringClones(s *suite) {
	if !s.clones() {
		return
	}
	const clones = 12
	for round := range 4 {
		id := backends.ImageVolumeID(fmt.Sprintf("e-%d", round))
		s.commit(id)
		name := func(i int) backends.VolumeName { return backends.VolumeName(fmt.Sprintf("v-%d-%d", round, i)) }
		errs := make([]error, clones)
		var retired error
		together(clones, func(i int) {
			if i == clones/2 {
				_, retired = s.b.Retire(s.ctx(), id)
			}
			_, errs[i] = s.b.Clone(s.ctx(), id, spec(name(i), string(name(i))))
		})
		s.must(retired)
		_, err := s.b.Reap(s.ctx())
		s.must(err)
		for i, err := range errs {
			if err == nil {
				s.wantContent(name(i), volumeBytes, 1)
				continue
			}
			if !errors.Is(err, backends.ErrNotExist) {
				s.Errorf("clone: got error %v, want none or %v", err, backends.ErrNotExist)
			}
			s.wantNoVolume(name(i))
		}
	}
}
