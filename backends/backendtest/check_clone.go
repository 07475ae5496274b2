package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/clonecache/clonecache/backends"
)

var cloneChecks = []check{
	{"ACloneHasTheImagesContent", cloneHasContent},
	{"CloneReadsZeroesBeyondTheImage", cloneReadsZeroes},
	{"ACloneBearsItsStamp", cloneBearsStamp},
	{"UncommittedImageVolumeCannotBeCloned", uncommittedCannotBeCloned},
	{"ARetiredImageVolumeCannotBeCloned", retiredCannotBeCloned},
	{"CloneNeverTouchesAnExistingVolume", cloneNeverTouches},
	{"ATooSmallCloneIsRefused", tooSmallClone},
	{"ATooLargeCloneIsRefusedAsSuch", tooLargeClone},
	{"ConcurrentClonesOfOneNameMakeOneVolume", concurrentClones},
	{"ClonesOfOneImageVolumeDoNotShareChanges", clonesAreSeparate},
	{"ACancelledCloneIsWholeOrAbsent", cancelledClone},
	{"WithoutClonesCloneSaysSo", withoutClones},
}

// cloned makes a clone of a committed image-volume.
func (s *suite) cloned(id backends.ImageVolumeID, name backends.VolumeName, token string) backends.Volume {
	s.Helper()
	v, err := s.b.Clone(s.ctx(), id, spec(name, token))
	s.must(err)
	return v
}

func cloneHasContent(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	exact := spec("exact", "t")
	exact.SizeBytes = imageBytes
	v, err := s.b.Clone(s.ctx(), "e-1", exact)
	s.must(err)
	s.wantVolume(v, 1)
}

func cloneReadsZeroes(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	v := s.cloned("e-1", "grown", "t")
	if v.SizeBytes != volumeBytes {
		s.Errorf("got %d bytes, want %d", v.SizeBytes, volumeBytes)
	}
	s.wantVolume(v, 1)
}

func cloneBearsStamp(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	s.wantStamp(s.cloned("e-1", "v", "token-1"), spec("v", "token-1"))
	s.wantVolumes("v")
}

// wantStamp complains if the volume does not say what it was made from. A backend that cannot keep the
// token leaves it empty.
func (s *suite) wantStamp(v backends.Volume, want backends.VolumeSpec) {
	s.Helper()
	stat, err := s.b.StatVolume(s.ctx(), want.Name)
	s.must(err)
	for _, got := range []backends.Volume{v, stat} {
		if got.Name != want.Name || got.ID == "" || got.SizeBytes != want.SizeBytes || !got.Complete {
			s.Errorf("got %+v, want %s, complete, with an ID and %d bytes", got, want.Name, want.SizeBytes)
		}
		if got.Token != "" && (got.Token != want.Token || got.Origin != want.Origin) {
			s.Errorf("got token %q and origin %+v, want those of %+v", got.Token, got.Origin, want)
		}
		if s.b.Info().Paths != (got.Path != "") {
			s.Errorf("got path %q where Info.Paths is %t", got.Path, s.b.Info().Paths)
		}
	}
	if v.ID != stat.ID || v.Token != stat.Token {
		s.Errorf("got ID %s and token %q, later %s and %q", v.ID, v.Token, stat.ID, stat.Token)
	}
}

func uncommittedCannotBeCloned(s *suite) {
	if !s.clones() {
		return
	}
	st := s.stage("e-1")
	for _, id := range []backends.ImageVolumeID{"e-1", "never-1"} {
		_, err := s.b.Clone(s.ctx(), id, spec("v", "t"))
		s.wantErr("clone "+string(id), err, backends.ErrNotExist)
		s.wantNoVolume("v")
	}
	s.must(st.Discard(s.ctx()))
}

func retiredCannotBeCloned(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	s.cloned("e-1", "before", "t1")
	_, err := s.b.Retire(s.ctx(), "e-1")
	s.must(err)
	_, err = s.b.Clone(s.ctx(), "e-1", spec("after", "t2"))
	s.wantErr("clone a retired image-volume", err, backends.ErrNotExist)
	s.wantNoVolume("after")
}

func cloneNeverTouches(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	old := s.volume("v", "first")
	_, err := s.b.Clone(s.ctx(), "e-1", spec("v", "second"))
	s.wantErr("clone to a taken name", err, backends.ErrExist)
	s.wantVolume(old, 9)
	s.wantVolumes("v")
}

func tooSmallClone(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	small := spec("v", "t")
	small.SizeBytes = imageBytes - 4096
	_, err := s.b.Clone(s.ctx(), "e-1", small)
	s.wantErr("clone to a volume smaller than the image", err, backends.ErrTooSmall)
	s.wantNoVolume("v")
}

// tooLargeClone: a size that may be beyond the backend is an error that says so, or it is made.
func tooLargeClone(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	for _, size := range []int64{1 << 53, 1 << 62, backends.MaxSize} {
		large := spec("v", "t")
		large.SizeBytes = size
		v, err := s.b.Clone(s.ctx(), "e-1", large)
		switch {
		case err == nil && v.SizeBytes != size:
			s.Errorf("a clone of %d bytes has %d", size, v.SizeBytes)
		case err == nil:
			s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v"}))
		default:
			s.wantErr("clone to a volume that is too large", err, backends.ErrTooLarge)
		}
		s.wantNoVolume("v")
	}
}

func concurrentClones(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	const callers = 8
	made := make([]backends.Volume, callers)
	errs := make([]error, callers)
	together(callers, func(i int) {
		made[i], errs[i] = s.b.Clone(s.ctx(), "e-1", spec("v", fmt.Sprintf("token-%d", i)))
	})
	var won []backends.Volume
	for i, err := range errs {
		if err == nil {
			won = append(won, made[i])
			continue
		}
		s.wantErr("clone", err, backends.ErrExist)
	}
	if len(won) != 1 {
		s.Fatalf("%d of %d clones to one name were made, want 1", len(won), callers)
	}
	s.wantVolume(won[0], 1)
	s.wantVolumes("v")
}

func clonesAreSeparate(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	const clones = 4
	var names sync.Map
	together(clones, func(i int) {
		name := backends.VolumeName(fmt.Sprintf("v%d", i))
		v, err := s.b.Clone(s.ctx(), "e-1", spec(name, string(name)))
		if err != nil {
			s.Error(err)
			return
		}
		if other, taken := names.LoadOrStore(v.ID, name); taken {
			s.Errorf("%s and %s have the ID %s", other, name, v.ID)
		}
	})
	s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v0"}))
	s.wantVolumes("v1", "v2", "v3")
	for _, name := range s.volumes() {
		s.wantContent(name, volumeBytes, 1)
	}
	s.wantImageContent("e-1")
}

func cancelledClone(s *suite) {
	if !s.clones() {
		return
	}
	s.commit("e-1")
	ctx, cancel := context.WithCancel(s.ctx())
	cancel()
	v, err := s.b.Clone(ctx, "e-1", spec("v", "t"))
	if err == nil {
		s.wantVolume(v, 1)
		return
	}
	s.wantNoVolume("v")
	settled, err := s.b.Settle(s.ctx(), spec("v", "t"))
	if err != nil || settled != backends.Absent {
		s.Errorf("settle: got %v, %v, want it absent", settled, err)
	}
}

func withoutClones(s *suite) {
	if s.clones() {
		return
	}
	s.commit("e-1")
	_, err := s.b.Clone(s.ctx(), "e-1", spec("v", "t"))
	if !errors.Is(err, backends.ErrCannotClone) {
		s.Errorf("got error %v, want %v", err, backends.ErrCannotClone)
	}
	s.wantNoVolume("v")
}
