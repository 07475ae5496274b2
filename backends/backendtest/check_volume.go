package backendtest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/clonecache/clonecache/backends"
)

var volumeChecks = []check{
	{"AnUnfinishedVolumeIsInvisible", unfinishedIsInvisible},
	{"AWrittenVolumeHasItsContentAndStamp", writtenHasContent},
	{"CreateNeverTouchesAnExistingVolume", createNeverTouches},
	{"CommitNeverTouchesAnExistingVolume", commitNeverTouches},
	{"VolumesAreWholeMultiplesOfTheSizeUnit", volumesAreWhole},
	{"ADiscardedVolumeLeavesNothing", discardedVolume},
	{"DiscardLeavesACommittedVolumeAlone", discardCommittedVolume},
	{"VolumeWritesBeyondTheEndAreRefused", volumeWritesBeyond},
	{"ADeletedVolumeIsGone", deletedIsGone},
	{"DeleteByIDLeavesAnotherVolumeAlone", deleteByID},
	{"AVolumeThatNobodyTouchedIsTakenBack", untouchedIsTakenBack},
	{"AVolumeThatSomebodyHasIsNotTakenBack", usedIsNotTakenBack},
	{"VolumeIDsAreNeverUsedAgain", idsNeverAgain},
	{"ForeignVolumesStayUntouched", foreignStayUntouched},
	{"ImageVolumesAndVolumesAreKeptApart", keptApart},
	{"UnusableNamesAreRefused", unusableNames},
	{"AVolumeListingMayBeLeftEarly", volumeListingLeftEarly},
	{"StatOfNothingSaysSo", statOfNothing},
}

func volumesAreWhole(s *suite) {
	const asked, want = imageBytes + 1, imageBytes + 4096
	odd := func(name backends.VolumeName) backends.VolumeSpec {
		o := spec(name, "token of "+string(name))
		o.SizeBytes = asked
		return o
	}
	check := func(v backends.Volume, err error) {
		s.Helper()
		s.must(err)
		now, err := s.b.StatVolume(s.ctx(), v.Name)
		s.must(err)
		if v.SizeBytes != want || now.SizeBytes != want || !now.Complete {
			s.Errorf("%s: asked for %d bytes: got %+v, then %+v, want %d", v.Name, asked, v, now, want)
		}
		settled, err := s.b.Settle(s.ctx(), odd(v.Name))
		s.must(err)
		if settled != backends.Whole {
			s.Errorf("%s: settled as %s, want %s", v.Name, settled, backends.Whole)
		}
	}
	st, err := s.b.CreateVolume(s.ctx(), odd("written"))
	s.must(err)
	check(st.Commit(s.ctx()))
	if s.clones() {
		s.commit("e-1")
		check(s.b.Clone(s.ctx(), "e-1", odd("cloned")))
	}
}

func unfinishedIsInvisible(s *suite) {
	st, err := s.b.CreateVolume(s.ctx(), spec("v", "t"))
	s.must(err)
	s.write(st, pattern(9, 0, dataBytes), 0)
	s.wantNoVolume("v")
	s.wantVolumes()
	_, err = st.Commit(s.ctx())
	s.must(err)
	s.wantVolumes("v")
}

func writtenHasContent(s *suite) {
	v := s.volume("v", "token-1")
	s.wantVolume(v, 9)
	s.wantStamp(v, spec("v", "token-1"))
}

func createNeverTouches(s *suite) {
	old := s.volume("v", "first")
	st, err := s.b.CreateVolume(s.ctx(), spec("v", "second"))
	s.wantErr("create a volume of a taken name", err, backends.ErrExist)
	if err == nil {
		_ = st.Discard(s.ctx())
	}
	s.wantVolume(old, 9)
}

// Two that write a volume of one name: the first to commit has it, the other is told.
func commitNeverTouches(s *suite) {
	first, err := s.b.CreateVolume(s.ctx(), spec("v", "first"))
	s.must(err)
	second, err := s.b.CreateVolume(s.ctx(), spec("v", "second"))
	if err != nil { // a backend may see it this early
		s.wantErr("create a second volume of that name", err, backends.ErrExist)
		s.must(first.Discard(s.ctx()))
		return
	}
	s.write(first, pattern(9, 0, dataBytes), 0)
	s.write(second, pattern(5, 0, dataBytes), 0)
	v, err := first.Commit(s.ctx())
	s.must(err)
	_, err = second.Commit(s.ctx())
	s.wantErr("commit a volume whose name is taken", err, backends.ErrExist)
	s.must(second.Discard(s.ctx()))
	s.wantVolume(v, 9)
	s.wantVolumes("v")
}

func discardedVolume(s *suite) {
	st, err := s.b.CreateVolume(s.ctx(), spec("v", "t"))
	s.must(err)
	s.write(st, pattern(9, 0, dataBytes), 0)
	s.must(st.Discard(s.ctx()))
	s.must(st.Discard(s.ctx()))
	if _, err := st.Commit(s.ctx()); err == nil {
		s.Error("what was discarded was committed")
	}
	s.wantNoVolume("v")
	s.wantVolume(s.volume("v", "again"), 9)
}

func discardCommittedVolume(s *suite) {
	st, err := s.b.CreateVolume(s.ctx(), spec("v", "t"))
	s.must(err)
	s.write(st, pattern(9, 0, dataBytes), 0)
	v, err := st.Commit(s.ctx())
	s.must(err)
	s.must(st.Discard(s.ctx()))
	s.wantVolume(v, 9)
}

func volumeWritesBeyond(s *suite) {
	st, err := s.b.CreateVolume(s.ctx(), spec("v", "t"))
	s.must(err)
	for _, off := range []int64{volumeBytes, volumeBytes - 1, -1} {
		if _, err := st.WriteAt([]byte{1, 2}, off); err == nil {
			s.Errorf("2 bytes were written at %d of %d", off, volumeBytes)
		}
	}
	s.must(st.Discard(s.ctx()))
}

func deletedIsGone(s *suite) {
	v := s.volume("v", "t")
	s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v"}))
	s.wantNoVolume("v")
	s.wantVolumes()
	s.wantErr("delete it again", s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v", ID: v.ID}), backends.ErrNotExist)
	s.wantErr("delete it by name", s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v"}), backends.ErrNotExist)
	s.volume("v", "again")
	s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v"}))
	s.wantNoVolume("v")
}

func deleteByID(s *suite) {
	old := s.volume("v", "first")
	s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v"}))
	taken := s.volume("v", "second")
	s.wantErr("delete by an ID that is gone", s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v", ID: old.ID}), backends.ErrNotExist)
	s.wantVolume(taken, 9)
}

// made makes a volume that nobody was told of: a clone where there are such, else one that is written.
func (s *suite) made(name backends.VolumeName) (v backends.Volume, seed byte) {
	s.Helper()
	if !s.clones() {
		return s.volume(name, "t"), 9
	}
	if _, there := s.images()["e-1"]; !there {
		s.commit("e-1")
	}
	return s.cloned("e-1", name, "t"), 1
}

func untouchedIsTakenBack(s *suite) {
	v, _ := s.made("v")
	err := s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v", ID: v.ID})
	if !s.clones() && errors.Is(err, backends.ErrInUse) {
		return // it cannot tell of volumes that are written
	}
	s.must(err)
	s.wantNoVolume("v")
}

// Whoever has a volume keeps it, though nobody was told of it: also once it is no longer in use, what was
// written stays.
func usedIsNotTakenBack(s *suite) {
	for _, how := range []Usage{Opens, Snapshots, Writes} {
		v, seed := s.made(backends.VolumeName("v-" + how))
		end, err := useVolume(s.ctx(), s.b, v.Name, how)
		if errors.Is(err, ErrNoUsage) {
			continue
		}
		s.must(err)
		err = s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: v.Name, ID: v.ID})
		if !errors.Is(err, backends.ErrInUse) && !errors.Is(err, backends.ErrNotOurs) {
			s.Errorf("take back a volume that somebody %s: got error %v, want %v or %v", how, err, backends.ErrInUse, backends.ErrNotOurs)
		}
		settled, err := s.b.Settle(s.ctx(), spec(v.Name, "t"))
		if err != nil || settled == backends.Removed {
			s.Errorf("settle a volume that somebody %s: got %v, %v", how, settled, err)
		}
		_, err = s.b.Reap(s.ctx())
		s.must(err)
		s.must(end())
		r, err := openForeign(s.ctx(), s.b, v.Name) // it may be theirs by now
		s.must(err)
		s.wantPattern(r, string(v.Name), v.SizeBytes, seed)
		s.must(r.Close())
	}
}

func idsNeverAgain(s *suite) {
	seen := map[backends.VolumeID]bool{}
	for i := range 5 {
		v := s.volume("v", fmt.Sprintf("token-%d", i))
		if seen[v.ID] {
			s.Errorf("ID %s was used again", v.ID)
		}
		seen[v.ID] = true
		s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v"}))
	}
}

func foreignStayUntouched(s *suite) {
	data := pattern(5, 0, dataBytes)
	err := makeForeign(s.ctx(), s.b, "foreign", data)
	if errors.Is(err, errNoForeigner) {
		s.Skip(err)
	}
	s.must(err)
	s.commit("e-1")
	s.wantVolumes()
	_, err = s.b.StatVolume(s.ctx(), "foreign")
	s.wantErr("stat", err, backends.ErrNotOurs)
	s.wantErr("delete", s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "foreign"}), backends.ErrNotOurs)
	_, err = s.b.CreateVolume(s.ctx(), spec("foreign", "t"))
	s.wantErr("create", err, backends.ErrExist)
	if s.clones() {
		_, err = s.b.Clone(s.ctx(), "e-1", spec("foreign", "t"))
		s.wantErr("clone", err, backends.ErrExist)
	}
	settled, err := s.b.Settle(s.ctx(), spec("foreign", "t"))
	if err != nil || settled != backends.Absent {
		s.Errorf("settle: got %v, %v, want it absent", settled, err)
	}
	_, err = s.b.Reap(s.ctx())
	s.must(err)
	s.wantForeign(data)
}

func (s *suite) wantForeign(data []byte) {
	s.Helper()
	// It has no stamp, so it is found where it was put.
	r, err := openForeign(s.ctx(), s.b, "foreign")
	s.must(err)
	defer r.Close()
	got := make([]byte, len(data))
	if _, err := r.ReadAt(got, 0); err != nil || string(got) != string(data) {
		s.Errorf("a foreign volume was changed (%v)", err)
	}
}

func keptApart(s *suite) {
	s.commit("same-1")
	v := s.volume("same-1", "t")
	s.wantVolumes("same-1")
	s.wantImages(states{"same-1": backends.Committed})
	_, err := s.b.Retire(s.ctx(), "same-1")
	s.must(err)
	s.wantVolume(v, 9)
}

func unusableNames(s *suite) {
	names := []backends.VolumeName{""}
	if s.b.Info().Paths {
		names = append(names, "..", ".hidden", "../v", "a/b", "/v", "v\x00", backends.VolumeName(strings.Repeat("v", 256)))
	}
	s.commit("e-1")
	namer, tells := backends.Capability[backends.VolumeNamer](s.b)
	if tells {
		s.must(namer.CheckVolumeName("v-1.2_3"))
	}
	for _, name := range names {
		if tells {
			s.wantErr(fmt.Sprintf("told of %q", name), namer.CheckVolumeName(name), backends.ErrBadName)
		}
		_, err := s.b.CreateVolume(s.ctx(), spec(name, "t"))
		s.wantErr(fmt.Sprintf("create %q", name), err, backends.ErrBadName)
		if s.clones() {
			_, err := s.b.Clone(s.ctx(), "e-1", spec(name, "t"))
			s.wantErr(fmt.Sprintf("clone to %q", name), err, backends.ErrBadName)
		}
		if _, err := s.b.StatVolume(s.ctx(), name); err == nil {
			s.Errorf("%q can be described", name)
		}
		if err := s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: name}); err == nil {
			s.Errorf("%q can be deleted", name)
		}
	}
	s.wantVolumes()
}

func volumeListingLeftEarly(s *suite) {
	s.volume("v1", "t1")
	s.volume("v2", "t2")
	for range s.b.ListVolumes(s.ctx()) {
		break
	}
	for v, err := range s.b.ListVolumes(s.ctx()) {
		s.must(err)
		s.must(s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: v.Name}))
	}
	s.wantVolumes()
}

func statOfNothing(s *suite) {
	s.wantNoVolume("v")
	s.wantVolumes()
	s.wantErr("delete", s.b.DeleteVolume(s.ctx(), backends.VolumeRef{Name: "v"}), backends.ErrNotExist)
	ctx, cancel := context.WithCancel(s.ctx())
	cancel()
	if _, err := s.b.CreateVolume(ctx, spec("v", "t")); err == nil {
		return // a backend need not look at ctx so early
	}
	s.wantNoVolume("v")
}
