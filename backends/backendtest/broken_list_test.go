package backendtest

import (
	"context"
	"errors"
	"iter"
	"os"
	"runtime"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/allot"
)

var broken = append(brokenStores, append(brokenBelongings, append(brokenClones, append(brokenVolumes, brokenAdoptions...)...)...)...)

var brokenStores = []brokenBackend{
	{"InfoIsCompleteAndDoesNotChange", "does not say why it cannot clone", cloneless, with(func(f *fake) {
		f.info = func() backends.Info { return backends.Info{Kind: "k", Location: "l"} }
	})},
	{"CapacityIsUnknownOrConsistent", "has more free than there is", dependentInfo, with(func(f *fake) {
		f.capacity = func() (backends.Capacity, error) { return backends.Capacity{TotalBytes: 1, FreeBytes: 2}, nil }
	})},
	{"AStageIsListedAsStaged", "does not list what is staged", dependentInfo, with(func(f *fake) {
		f.listImages = only(f.Memory, func(v backends.ImageVolume) bool { return v.State != backends.Staged })
	})},
	{"ACommittedImageVolumeKeepsItsFinalDescription", "keeps the first description", dependentInfo, withImageStage(func(s *fakeImageStage) {
		s.commit = func(ctx context.Context, _ backends.Description) (backends.ImageVolume, error) {
			return s.memoryImageStage.Commit(ctx, s.image.description)
		}
	})},
	{"ATakenIDIsRefusedAndUntouched", "lets a stage replace another", dependentInfo, with(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			f.mu.Lock()
			delete(f.images, spec.ID)
			f.mu.Unlock()
			return f.Memory.Stage(ctx, spec)
		}
	})},
	{"ConcurrentStagesOfOneIDMakeOne", "gives one stage to all", dependentInfo, with(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			s, err := f.Memory.Stage(ctx, spec)
			if err != nil {
				return &memoryImageStage{memory: f.Memory, id: spec.ID, image: f.images[spec.ID], held: allot.New(allot.Config{UnitBytes: pageBytes})}, nil
			}
			return s, nil
		}
	})},
	{"OneImageVolumeIsDescribedAsInTheListing", "counts no clones", dependentInfo, with(func(f *fake) {
		f.statImage = func(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
			v, err := f.Memory.StatImageVolume(ctx, id)
			v.Clones = 0
			return v, err
		}
	})},
	{"WhatIsToldToBeAHoleReadsAsZeroes", "tells data beyond the first to be a hole", dependentInfo, with(func(f *fake) {
		f.openImage = func(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
			c, err := f.Memory.OpenImageVolume(ctx, id)
			if err != nil {
				return nil, err
			}
			return forgetfulContent{c.(content)}, nil
		}
	})},
	{"ImageVolumesAreWholeMultiplesOfTheSizeUnit", "makes what was asked for", dependentInfo, with(func(f *fake) {
		sizes := map[backends.ImageVolumeID]int64{}
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			sizes[spec.ID] = spec.VirtualBytes
			return f.Memory.Stage(ctx, spec)
		}
		f.listImages = func(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
			return func(yield func(backends.ImageVolume, error) bool) {
				for v, err := range f.Memory.ListImageVolumes(ctx) {
					if v.VirtualBytes = sizes[v.ID]; !yield(v, err) {
						return
					}
				}
			}
		}
	})},
	{"AStageHoldsNoMoreThanItSays", "counts the bytes that it is given", dependentInfo, withImageStage(func(s *fakeImageStage) {
		var given int64
		s.writeAt = func(p []byte, off int64) (int, error) {
			given += int64(len(p))
			return s.memoryImageStage.WriteAt(p, off)
		}
		s.held = func() int64 { return given }
	})},
	{"AStageAsksForRoomBeforeItHoldsMore", "asks for nothing", dependentInfo, with(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			spec.Room = nil
			return f.Memory.Stage(ctx, spec)
		}
	})},
	{"AStageThatIsRefusedRoomHoldsNoMore", "goes on when it is refused", dependentInfo, with(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			if room := spec.Room; room != nil {
				spec.Room = func(need, ample int64) (int64, error) {
					if granted, err := room(need, ample); err == nil {
						return granted, nil
					}
					return need, nil
				}
			}
			return f.Memory.Stage(ctx, spec)
		}
	})},
	{"WritesBeyondTheEndAreRefused", "swallows writes beyond the end", dependentInfo, withImageStage(func(s *fakeImageStage) {
		s.writeAt = func(p []byte, off int64) (int, error) {
			_, _ = s.memoryImageStage.WriteAt(p, off)
			return len(p), nil
		}
	})},
	{"ConcurrentWritesLandWhereTheyBelong", "appends what is written", dependentInfo, withImageStage(func(s *fakeImageStage) {
		s.writeAt = func(p []byte, _ int64) (int, error) {
			s.memory.mu.Lock()
			off := s.image.pages.held()
			s.memory.mu.Unlock()
			return s.memoryImageStage.WriteAt(p, off)
		}
	})},
	{"HolesHoldNothing", "counts holes as held", dependentInfo, withImageStage(func(s *fakeImageStage) {
		s.held = func() int64 { return s.image.bytes }
	})},
	{"DiscardLeavesNothing", "keeps what was discarded", dependentInfo, withImageStage(func(s *fakeImageStage) {
		s.discard = func(context.Context) error { return nil }
	})},
	{"DiscardAfterCommitDoesNothing", "discards what is committed", dependentInfo, withImageStage(func(s *fakeImageStage) {
		s.discard = func(ctx context.Context) error { _, _ = s.memory.Retire(ctx, s.id); return nil }
	})},
	{"ADiscardedStageCannotBeCommitted", "commits what was discarded", dependentInfo, withImageStage(resurrect)},
	{"ARetiredStageCannotBeCommitted", "commits what was retired", dependentInfo, withImageStage(resurrect)},
	{"RetireEndsACommittedImageVolume", "does not retire", dependentInfo, with(func(f *fake) {
		f.retire = func(context.Context, backends.ImageVolumeID) (backends.Retired, error) {
			return backends.Retired{Gone: true, FreedBytes: dataBytes}, nil
		}
	})},
	{"RetireMayBeRepeated", "says nothing of what is gone", dependentInfo, with(func(f *fake) {
		f.retire = func(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
			r, _ := f.Memory.Retire(ctx, id)
			return r, nil
		}
	})},
	{"RetireAndDiscardMayMeet", "does not retire what somebody uses", dependentInfo, with(func(f *fake) {
		f.retire = func(context.Context, backends.ImageVolumeID) (backends.Retired, error) {
			return backends.Retired{}, backends.ErrInUse
		}
	})},
	{"ReapLeavesStagedAndCommittedAlone", "reaps whatever has no clones", dependentInfo, with(func(f *fake) {
		f.reap = func(context.Context) (backends.Reaped, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			clear(f.images)
			return backends.Reaped{}, nil
		}
	})},
	{"ManyImageVolumesAreListedOnceEach", "lists the first ten", dependentInfo, with(func(f *fake) {
		n := 0
		f.listImages = only(f.Memory, func(backends.ImageVolume) bool { n++; return n <= 10 })
	})},
	{"AListingMayBeLeftEarly", "does not retire while it is listed", dependentInfo, with(func(f *fake) {
		f.retire = func(context.Context, backends.ImageVolumeID) (backends.Retired, error) {
			return backends.Retired{}, errBroken
		}
	})},
	{"ACancelledStageLeavesNothing", "stages and then answers with an error", dependentInfo, with(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			_, _ = f.Memory.Stage(context.WithoutCancel(ctx), spec)
			return nil, ctx.Err()
		}
	})},
	{"OpenImageServesCommittedOnesOnly", "opens what is not there", dependentInfo, opener},
	{"ReadersKeepARetiredImage", "empties what is retired", dependentInfo, opener},
	{"OnlyCommittedImageVolumesAreRead", "reads what is staged", dependentInfo, func(m *Memory) backends.Backend { return fakeReader{m} }},
	{"ReadersKeepARetiredImageVolume", "reads what is retired", dependentInfo, func(m *Memory) backends.Backend { return fakeReader{m} }},
}

// only lists the image-volumes that pass.
func only(m *Memory, pass func(backends.ImageVolume) bool) func(context.Context) iter.Seq2[backends.ImageVolume, error] {
	return func(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
		return func(yield func(backends.ImageVolume, error) bool) {
			for v, err := range m.ListImageVolumes(ctx) {
				if err == nil && !pass(v) {
					continue
				}
				if !yield(v, err) {
					return
				}
			}
		}
	}
}

// resurrect commits whatever became of the stage.
func resurrect(s *fakeImageStage) {
	s.commit = func(_ context.Context, d backends.Description) (backends.ImageVolume, error) {
		s.memory.mu.Lock()
		defer s.memory.mu.Unlock()
		s.image.state, s.image.description = backends.Committed, d
		s.memory.images[s.id] = s.image
		return s.image.describe(s.id), nil
	}
}

// fakeOpener opens an empty file for whatever it is asked.
type fakeOpener struct{ *Memory }

func opener(m *Memory) backends.Backend { return fakeOpener{m} }

func (fakeOpener) OpenImage(_ context.Context, id backends.ImageVolumeID) (*os.File, backends.ImageVolume, error) {
	f, err := os.Open(os.DevNull)
	return f, backends.ImageVolume{ID: id}, err
}

// fakeReader reads zeroes of whatever it is asked.
type fakeReader struct{ *Memory }

func (fakeReader) OpenImageVolume(context.Context, backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	return content{sparse{}, imageBytes}, nil
}

var brokenClones = []brokenBackend{
	{"ACloneHasTheImagesContent", "makes empty clones", dependentInfo, with(func(f *fake) { f.clone = spoiled(f, emptied) })},
	{"CloneReadsZeroesBeyondTheImage", "leaves old data beyond the image", dependentInfo, with(func(f *fake) { f.clone = spoiled(f, dirtied) })},
	{"ACloneBearsItsStamp", "loses the origin", dependentInfo, with(func(f *fake) {
		f.clone = spoiled(f, func(v *memoryVolume) { v.volume.Origin = backends.Origin{} })
	})},
	{"UncommittedImageVolumeCannotBeCloned", "clones what is staged", dependentInfo, with(cloneAnyState)},
	{"ARetiredImageVolumeCannotBeCloned", "clones what is detached", dependentInfo, with(cloneAnyState)},
	{"CloneNeverTouchesAnExistingVolume", "replaces a volume", dependentInfo, with(cloneReplaces)},
	{"ATooSmallCloneIsRefused", "cuts the image", dependentInfo, with(func(f *fake) {
		f.clone = func(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
			spec.SizeBytes = max(spec.SizeBytes, imageBytes)
			return f.Memory.Clone(ctx, id, spec)
		}
	})},
	{"ATooLargeCloneIsRefusedAsSuch", "is surprised", dependentInfo, with(func(f *fake) {
		f.clone = func(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
			if spec.SizeBytes > 1<<60 {
				return backends.Volume{}, errors.New("invalid argument")
			}
			return f.Memory.Clone(ctx, id, spec)
		}
	})},
	{"ConcurrentClonesOfOneNameMakeOneVolume", "lets the last one win", dependentInfo, with(cloneReplaces)},
	{"ClonesOfOneImageVolumeDoNotShareChanges", "removes all clones with one", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(context.Context, backends.VolumeRef) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			clear(f.volumes)
			return nil
		}
	})},
	{"ACancelledCloneIsWholeOrAbsent", "answers with an error and leaves a volume", dependentInfo, with(func(f *fake) {
		f.clone = func(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
			_, _ = f.Memory.Clone(context.WithoutCancel(ctx), id, spec)
			return backends.Volume{}, ctx.Err()
		}
	})},
	{"WithoutClonesCloneSaysSo", "answers that there is no image-volume", cloneless, with(func(f *fake) {
		f.clone = func(context.Context, backends.ImageVolumeID, backends.VolumeSpec) (backends.Volume, error) {
			return backends.Volume{}, backends.ErrNotExist
		}
	})},
	{"IndependentClonesOutliveTheirImageVolume", "takes clones along", independentInfo, with(func(f *fake) {
		f.retire = retireWithClones(f)
	})},
	{"ClonesThatDependAreCounted", "counts no clones", dependentInfo, with(func(f *fake) { f.clone = uncounted(f) })},
	{"RetireDetachesWhileClonesLive", "removes what clones depend on", dependentInfo, with(func(f *fake) { f.clone = uncounted(f) })},
	{"ReapFreesADetachedOneAfterItsLastClone", "reaps while clones live", dependentInfo, with(func(f *fake) {
		f.reap = func(ctx context.Context) (backends.Reaped, error) {
			f.mu.Lock()
			for _, image := range f.images {
				clear(image.clones)
			}
			f.mu.Unlock()
			return f.Memory.Reap(ctx)
		}
	})},
	{"ADetachedOnesIDStaysTaken", "forgets what is detached", dependentInfo, with(func(f *fake) {
		f.listImages = only(f.Memory, func(v backends.ImageVolume) bool { return v.State != backends.Detached })
	})},
	{"RetireDuringClonesNeverHarmsOne", "harms clones by retiring", dependentInfo, with(func(f *fake) {
		f.retire = retireWithClones(f)
	})},
}

type cloneFunc = func(context.Context, backends.ImageVolumeID, backends.VolumeSpec) (backends.Volume, error)

// spoiled spoils each clone.
func spoiled(f *fake, spoil func(*memoryVolume)) cloneFunc {
	return func(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
		v, err := f.Memory.Clone(ctx, id, spec)
		if err != nil {
			return v, err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		made := f.volumes[spec.Name]
		spoil(made)
		return made.volume, nil
	}
}

func emptied(v *memoryVolume) { v.pages = sparse{} }
func dirtied(v *memoryVolume) { v.pages.writeAt([]byte{1}, imageBytes+4096) }

func cloneAnyState(f *fake) {
	f.clone = func(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
		f.mu.Lock()
		if image := f.images[id]; image != nil {
			image.state = backends.Committed
		}
		f.mu.Unlock()
		return f.Memory.Clone(ctx, id, spec)
	}
}

func cloneReplaces(f *fake) {
	f.clone = func(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
		_ = f.Memory.DeleteVolume(ctx, backends.VolumeRef{Name: spec.Name})
		v, err := f.Memory.Clone(ctx, id, spec)
		if err != nil { // another one was quicker: say that it is ours
			return f.Memory.StatVolume(ctx, spec.Name)
		}
		return v, nil
	}
}

func uncounted(f *fake) cloneFunc {
	return func(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
		v, err := f.Memory.Clone(ctx, id, spec)
		f.mu.Lock()
		defer f.mu.Unlock()
		if image := f.images[id]; image != nil {
			clear(image.clones)
		}
		return v, err
	}
}

// retireWithClones empties all volumes.
func retireWithClones(f *fake) func(context.Context, backends.ImageVolumeID) (backends.Retired, error) {
	return func(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
		// The clones in the making are waited for, so that some are surely there.
		for give := time.Now().Add(time.Minute); ; {
			if time.Now().After(give) {
				return backends.Retired{}, errors.New("no clone came to be")
			}
			f.mu.Lock()
			n := len(f.volumes)
			for _, v := range f.volumes {
				emptied(v)
			}
			f.mu.Unlock()
			if n > 0 {
				return f.Memory.Retire(ctx, id)
			}
			runtime.Gosched()
		}
	}
}
