package backendtest

import (
	"context"
	"errors"
	"slices"

	"github.com/clonecache/clonecache/backends"
)

var storeChecks = slices.Concat(belongingChecks, []check{
	{"InfoIsCompleteAndDoesNotChange", infoIsComplete},
	{"CapacityIsUnknownOrConsistent", capacityIsConsistent},
	{"AStageIsListedAsStaged", stageIsStaged},
	{"ACommittedImageVolumeKeepsItsFinalDescription", committedKeepsDescription},
	{"ATakenIDIsRefusedAndUntouched", takenIDIsRefused},
	{"ConcurrentStagesOfOneIDMakeOne", concurrentStages},
	{"WritesBeyondTheEndAreRefused", writesBeyondTheEnd},
	{"ConcurrentWritesLandWhereTheyBelong", concurrentWrites},
	{"ImageVolumesAreWholeMultiplesOfTheSizeUnit", imageVolumesAreWhole},
	{"HolesHoldNothing", holesHoldNothing},
	{"AStageHoldsNoMoreThanItSays", stageHoldsWhatItSays},
	{"AStageAsksForRoomBeforeItHoldsMore", stageAsksForRoom},
	{"AStageThatIsRefusedRoomHoldsNoMore", refusedStageHoldsNoMore},
	{"DiscardLeavesNothing", discardLeavesNothing},
	{"DiscardAfterCommitDoesNothing", discardAfterCommit},
	{"ADiscardedStageCannotBeCommitted", discardedCannotBeCommitted},
	{"ARetiredStageCannotBeCommitted", retiredStageCannotBeCommitted},
	{"RetireEndsACommittedImageVolume", retireEndsCommitted},
	{"RetireMayBeRepeated", retireMayBeRepeated},
	{"RetireAndDiscardMayMeet", retireAndDiscardMeet},
	{"ReapLeavesStagedAndCommittedAlone", reapLeavesOthers},
	{"ManyImageVolumesAreListedOnceEach", manyAreListed},
	{"AListingMayBeLeftEarly", listingLeftEarly},
	{"OneImageVolumeIsDescribedAsInTheListing", oneIsDescribed},
	{"ACancelledStageLeavesNothing", cancelledStage},
	{"OpenImageServesCommittedOnesOnly", openImageServesCommitted},
	{"ReadersKeepARetiredImage", readersKeepRetired},
	{"OnlyCommittedImageVolumesAreRead", onlyCommittedAreRead},
	{"ReadersKeepARetiredImageVolume", readersKeepRetiredVolume},
	{"WhatIsToldToBeAHoleReadsAsZeroes", holesAreZeroes},
})

func infoIsComplete(s *suite) {
	i := s.store.Info()
	if i.Kind == "" || i.Location == "" {
		s.Errorf("kind %q, location %q: both must be told", i.Kind, i.Location)
	}
	if i.CanClone != (i.CloneMethod != "") || i.CanClone != (i.NoClone == "") {
		s.Errorf("CanClone %t, but method %q and reason against it %q", i.CanClone, i.CloneMethod, i.NoClone)
	}
	s.commit("e-1")
	if again := s.store.Info(); again != i {
		s.Errorf("info changed from %+v to %+v", i, again)
	}
}

func capacityIsConsistent(s *suite) {
	c, err := s.store.Capacity(s.ctx())
	s.must(err)
	if c.FreeBytes < 0 || c.FreeBytes > c.TotalBytes || !c.Known() && c != (backends.Capacity{}) {
		s.Errorf("got %+v", c)
	}
}

func stageIsStaged(s *suite) {
	st := s.stage("e-1")
	v := s.images()["e-1"]
	if v.State != backends.Staged || v.VirtualBytes != imageBytes || v.Clones != 0 {
		s.Errorf("got %+v, want it staged, with %d virtual bytes", v, imageBytes)
	}
	s.must(st.Discard(s.ctx()))
}

func committedKeepsDescription(s *suite) {
	st := s.stage("e-1")
	final := description("e-1")
	final.Digest, final.ContentKey, final.ImageIDs = "sha256:bb", "sha256:bb/qcow2", []string{"library:x/y", "web:ü"}
	final.CreatedAt = final.CreatedAt.AddDate(2025, 3, 4).UTC()
	v, err := st.Commit(s.ctx(), final)
	s.must(err)
	for _, got := range []backends.ImageVolume{v, s.images()["e-1"]} {
		if got.ID != "e-1" || got.State != backends.Committed || got.VirtualBytes != imageBytes {
			s.Errorf("got %+v, want e-1, committed, with %d virtual bytes", got, imageBytes)
		}
		wantDescription(s, got.Description, final)
	}
}

func wantDescription(s *suite, got, want backends.Description) {
	s.Helper()
	if !got.CreatedAt.Equal(want.CreatedAt) || !slices.Equal(got.ImageIDs, want.ImageIDs) {
		s.Errorf("created at %v, images %q; want %v, %q", got.CreatedAt, got.ImageIDs, want.CreatedAt, want.ImageIDs)
	}
	if got.Digest != want.Digest || got.ContentKey != want.ContentKey || got.EntryID != want.EntryID || got.ClaimID != want.ClaimID {
		s.Errorf("description:\ngot  %+v\nwant %+v", got, want)
	}
}

func takenIDIsRefused(s *suite) {
	st := s.stage("e-1")
	again := func(when string) {
		_, err := s.store.Stage(s.ctx(), backends.StageSpec{ID: "e-1", VirtualBytes: 4096})
		s.wantErr("stage an ID that is "+when, err, backends.ErrExist)
		if v := s.images()["e-1"]; v.VirtualBytes != imageBytes {
			s.Errorf("an ID that is %s: got %+v, want it as it was", when, v)
		}
	}
	again("staged")
	_, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	again("committed")
}

func discardLeavesNothing(s *suite) {
	st := s.stage("e-1")
	s.must(st.Discard(s.ctx()))
	s.wantImages(states{})
	s.must(st.Discard(s.ctx()))
	_, err := s.store.Retire(s.ctx(), "e-1")
	s.wantErr("retire what was discarded", err, backends.ErrNotExist)
	s.must(s.stage("e-1").Discard(s.ctx())) // the ID is free again
}

func discardAfterCommit(s *suite) {
	st := s.stage("e-1")
	_, err := st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	s.must(st.Discard(s.ctx()))
	s.wantImages(states{"e-1": backends.Committed})
	s.wantImageContent("e-1")
}

func discardedCannotBeCommitted(s *suite) {
	st := s.stage("e-1")
	s.must(st.Discard(s.ctx()))
	if _, err := st.Commit(s.ctx(), description("e-1")); err == nil {
		s.Error("what was discarded was committed")
	}
	s.wantImages(states{})
}

func retiredStageCannotBeCommitted(s *suite) {
	st := s.stage("e-1")
	r, err := s.store.Retire(s.ctx(), "e-1")
	s.must(err)
	if !r.Gone {
		s.Errorf("got %+v, want it gone", r)
	}
	s.wantImages(states{})
	if _, err := st.Commit(s.ctx(), description("e-1")); err == nil {
		s.Error("what was retired was committed")
	}
	s.wantImages(states{})
	_ = st.Discard(s.ctx())
}

func retireEndsCommitted(s *suite) {
	held := s.commit("e-1").HeldBytes
	s.commit("e-2")
	r, err := s.store.Retire(s.ctx(), "e-1")
	s.must(err)
	if !r.Gone || r.Clones != 0 || r.FreedBytes != held {
		s.Errorf("got %+v, want it gone and %d bytes freed", r, held)
	}
	s.wantImages(states{"e-2": backends.Committed})
	s.wantImageContent("e-2")
}

func retireMayBeRepeated(s *suite) {
	s.commit("e-1")
	_, err := s.store.Retire(s.ctx(), "e-1")
	s.must(err)
	_, err = s.store.Retire(s.ctx(), "e-1")
	s.wantErr("retire again", err, backends.ErrNotExist)
	_, err = s.store.Retire(s.ctx(), "never-1")
	s.wantErr("retire what never was", err, backends.ErrNotExist)
}

func retireAndDiscardMeet(s *suite) {
	for range 8 {
		st := s.stage("e-1")
		together(3, func(i int) {
			var err error
			switch i {
			case 0:
				_, err = s.store.Retire(s.ctx(), "e-1")
			case 1:
				err = st.Discard(s.ctx())
			case 2:
				_, err = st.Commit(s.ctx(), description("e-1"))
			}
			if err != nil && !errors.Is(err, backends.ErrNotExist) {
				s.Errorf("got error %v, want none or %v", err, backends.ErrNotExist)
			}
		})
		if _, err := s.store.Retire(s.ctx(), "e-1"); err != nil {
			s.wantErr("retire", err, backends.ErrNotExist)
		}
		s.wantImages(states{})
	}
}

func reapLeavesOthers(s *suite) {
	st := s.stage("e-1")
	s.commit("e-2")
	r, err := s.store.Reap(s.ctx())
	s.must(err)
	if len(r.ImageVolumes) != 0 || r.FreedBytes != 0 {
		s.Errorf("got %+v, want nothing", r)
	}
	s.wantImages(states{"e-1": backends.Staged, "e-2": backends.Committed})
	_, err = st.Commit(s.ctx(), description("e-1"))
	s.must(err)
	s.wantImageContent("e-1")
}

func manyAreListed(s *suite) {
	want := states{}
	for i := range 20 {
		id := backends.ImageVolumeID("entry_" + string(rune('a'+i)) + ".x-1")
		st, err := s.store.Stage(s.ctx(), backends.StageSpec{ID: id, VirtualBytes: 4096, Description: description(id)})
		s.must(err)
		want[id] = backends.Staged
		if i%2 == 0 {
			_, err := st.Commit(s.ctx(), description(id))
			s.must(err)
			want[id] = backends.Committed
		}
	}
	s.wantImages(want)
}

func oneIsDescribed(s *suite) {
	stater, ok := backends.Capability[backends.ImageVolumeStater](s.store)
	if !ok {
		return
	}
	st := s.stage("e-1")
	s.commit("e-2")
	if s.b != nil && s.clones() {
		_, err := s.b.Clone(s.ctx(), "e-2", spec("v", "t"))
		s.must(err)
	}
	for id, want := range s.images() {
		got, err := stater.StatImageVolume(s.ctx(), id)
		s.must(err)
		if got.ID != want.ID || got.State != want.State || got.Clones != want.Clones || got.VirtualBytes != want.VirtualBytes {
			s.Errorf("%s: got %+v, want %+v", id, got, want)
		}
	}
	s.must(st.Discard(s.ctx()))
	_, err := stater.StatImageVolume(s.ctx(), "e-1")
	s.wantErr("describe what is not there", err, backends.ErrNotExist)
}

func listingLeftEarly(s *suite) {
	s.commit("e-1")
	s.commit("e-2")
	for range s.store.ListImageVolumes(s.ctx()) {
		break
	}
	s.commit("e-3") // nothing is locked by a listing that was left
	for v, err := range s.store.ListImageVolumes(s.ctx()) {
		s.must(err)
		if _, err := s.store.Retire(s.ctx(), v.ID); err != nil {
			s.Errorf("retire while listing: %v", err)
		}
	}
	s.wantImages(states{})
}

func cancelledStage(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx())
	cancel()
	st, err := s.store.Stage(ctx, backends.StageSpec{ID: "e-1", VirtualBytes: 4096})
	if err == nil {
		s.must(st.Discard(s.ctx()))
	}
	s.wantImages(states{})
}
