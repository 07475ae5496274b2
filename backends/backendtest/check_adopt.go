package backendtest

import (
	"bytes"
	"errors"

	"github.com/clonecache/clonecache/backends"
)

var adoptChecks = []check{
	{"AnAdoptedVolumeBecomesTheImageVolume", adoptedBecomesImage},
	{"AnAdoptedVolumeIsNoVolumeOfOurs", adoptedIsNoVolume},
	{"ARetiredAdoptedVolumeIsItsOwners", retiredAdoptedIsOwners},
	{"ADiscardedAdoptedVolumeIsItsOwners", discardedAdoptedIsOwners},
	{"ADetachedAdoptedVolumeIsGivenBackByReap", detachedAdoptedIsReaped},
	{"AVolumeThatIsNotThereIsNotAdopted", missingIsNotAdopted},
	{"AVolumeWithDataIsNotAdopted", foreignIsNotAdopted},
	{"AnAdoptedVolumeIsNotAdoptedAgain", adoptedIsNotAdoptedAgain},
}

const owned backends.VolumeName = "volume-5e0bfb5c-43b1-4f7e-8a0a-9f7f8f5d2a11"

// service is what makes volumes to adopt; nil where the backend adopts none.
func (s *suite) service() OwnersService {
	s.Helper()
	if a, ok := backends.Capability[backends.Adopter](s.b); !ok || !a.CanAdopt() {
		return nil
	}
	service, ok := backends.Capability[OwnersService](s.b)
	if !ok {
		s.Fatal("the backend adopts volumes, and is no backendtest.OwnersService")
	}
	return service
}

// adopt makes an empty volume and stages it as e-1, with pattern 1 at its beginning.
func (s *suite) adopt(service OwnersService) backends.ImageVolumeStage {
	s.Helper()
	s.must(service.MakeOwned(s.ctx(), owned, 2*volumeBytes))
	st, err := s.b.Stage(s.ctx(), s.adoption("e-1", owned))
	s.must(err)
	s.write(st, pattern(1, 0, dataBytes), 0)
	return st
}

func (s *suite) adoption(id backends.ImageVolumeID, name backends.VolumeName) backends.StageSpec {
	return backends.StageSpec{ID: id, VirtualBytes: imageBytes, Description: description(id), Adopt: name}
}

// adopted is a committed image-volume e-1 that was adopted.
func (s *suite) adopted(service OwnersService) backends.ImageVolume {
	s.Helper()
	v, err := s.adopt(service).Commit(s.ctx(), description("e-1"))
	s.must(err)
	return v
}

// wantGivenBack complains unless the volume is there, and its owner's service can remove it.
func (s *suite) wantGivenBack(service OwnersService) {
	s.Helper()
	s.wantImages(states{})
	if err := service.DeleteOwned(s.ctx(), owned); err != nil {
		s.Errorf("its owner's service cannot remove the volume: %v", err)
	}
	s.wantNoVolume(owned)
}

func adoptedBecomesImage(s *suite) {
	service := s.service()
	if service == nil {
		return
	}
	v := s.adopted(service)
	if v.State != backends.Committed || v.VirtualBytes != imageBytes {
		s.Errorf("got %+v, want it committed, with %d virtual bytes", v, imageBytes)
	}
	r, err := service.OpenOwned(s.ctx(), owned)
	s.must(err)
	defer r.Close()
	s.wantPattern(r, string(owned), imageBytes, 1)
	if s.clones() {
		s.cloned("e-1", "v", "t")
		s.wantContent("v", volumeBytes, 1)
	}
}

func adoptedIsNoVolume(s *suite) {
	service := s.service()
	if service == nil {
		return
	}
	s.adopted(service)
	_, err := s.b.StatVolume(s.ctx(), owned)
	if !errors.Is(err, backends.ErrNotOurs) && !errors.Is(err, backends.ErrNotExist) { // it may lie elsewhere than volumes
		s.Errorf("stat: got error %v, want %v", err, backends.ErrNotOurs)
	}
	if err := s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: owned}); err == nil {
		s.Errorf("it was deleted")
	}
	s.wantVolumes()
	s.wantImages(states{"e-1": backends.Committed})
}

func retiredAdoptedIsOwners(s *suite) {
	service := s.service()
	if service == nil {
		return
	}
	s.adopted(service)
	r, err := s.b.Retire(s.ctx(), "e-1")
	s.must(err)
	if !r.Gone {
		s.Errorf("retire: got %+v, want it gone", r)
	}
	s.wantGivenBack(service)
}

func discardedAdoptedIsOwners(s *suite) {
	service := s.service()
	if service == nil {
		return
	}
	s.must(s.adopt(service).Discard(s.ctx()))
	s.wantGivenBack(service)
}

func detachedAdoptedIsReaped(s *suite) {
	service := s.service()
	if service == nil || !s.dependent() {
		return
	}
	s.adopted(service)
	v := s.cloned("e-1", "v", "t")
	r, err := s.b.Retire(s.ctx(), "e-1")
	s.must(err)
	if r.Gone || r.Clones != 1 {
		s.Errorf("retire: got %+v, want it detached with 1 clone", r)
	}
	s.wantImages(states{"e-1": backends.Detached})
	s.wantContent("v", volumeBytes, 1)
	s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v", ID: v.ID}))
	reaped, err := s.b.Reap(s.ctx())
	s.must(err)
	if len(reaped.ImageVolumes) != 1 {
		s.Errorf("reap: got %+v, want e-1", reaped)
	}
	s.wantGivenBack(service)
}

func missingIsNotAdopted(s *suite) {
	if s.service() == nil {
		return
	}
	_, err := s.b.Stage(s.ctx(), s.adoption("e-1", owned))
	s.wantErr("adopt what is not there", err, backends.ErrNotExist)
	s.wantImages(states{})
	s.commit("e-1") // the ID is free
}

func foreignIsNotAdopted(s *suite) {
	service := s.service()
	if service == nil {
		return
	}
	data := pattern(7, 0, dataBytes)
	s.must(service.MakeOwned(s.ctx(), owned, volumeBytes))
	s.must(service.WriteOwned(s.ctx(), owned, data))
	_, err := s.b.Stage(s.ctx(), s.adoption("e-1", owned))
	s.wantErr("adopt what has data", err, backends.ErrNotOurs)
	s.wantImages(states{})
	r, err := service.OpenOwned(s.ctx(), owned)
	s.must(err)
	defer r.Close()
	got := make([]byte, volumeBytes)
	if n, err := r.ReadAt(got, 0); n != volumeBytes || !bytes.Equal(got[:dataBytes], data) {
		s.Errorf("it has changed: read %d bytes, %v", n, err)
	}
}

func adoptedIsNotAdoptedAgain(s *suite) {
	service := s.service()
	if service == nil {
		return
	}
	st := s.adopt(service)
	_, err := s.b.Stage(s.ctx(), s.adoption("e-2", owned))
	if !errors.Is(err, backends.ErrNotOurs) && !errors.Is(err, backends.ErrInUse) {
		s.Errorf("adopt it again: got error %v, want %v or %v", err, backends.ErrNotOurs, backends.ErrInUse)
	}
	s.wantImages(states{"e-1": backends.Staged})
	_, err = st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	s.wantImages(states{"e-1": backends.Committed})
}
