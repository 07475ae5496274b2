package backendtest

import (
	"context"
	"iter"
	"os"

	"github.com/clonecache/clonecache/backends"
)

var brokenVolumes = []brokenBackend{
	{"AnUnfinishedVolumeIsInvisible", "shows a volume before it is written", dependentInfo, with(func(f *fake) {
		f.createVolume = func(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
			s, err := f.Memory.CreateVolume(ctx, spec)
			if err == nil {
				f.mu.Lock()
				f.add(spec, sparse{})
				f.mu.Unlock()
			}
			return s, err
		}
	})},
	{"AWrittenVolumeHasItsContentAndStamp", "drops what is written", dependentInfo, withVolumeStage(func(s *fakeVolumeStage) {
		s.writeAt = func(p []byte, _ int64) (int, error) { return len(p), nil }
	})},
	{"CreateNeverTouchesAnExistingVolume", "removes a volume in the way", dependentInfo, with(func(f *fake) {
		f.createVolume = func(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
			_ = f.Memory.DeleteVolume(ctx, backends.VolumeRef{Name: spec.Name})
			return f.Memory.CreateVolume(ctx, spec)
		}
	})},
	{"CommitNeverTouchesAnExistingVolume", "lets the last one win", dependentInfo, withVolumeStage(func(s *fakeVolumeStage) {
		s.commit = func(ctx context.Context) (backends.Volume, error) {
			_ = s.memory.DeleteVolume(ctx, backends.VolumeRef{Name: s.spec.Name})
			return s.memoryVolumeStage.Commit(ctx)
		}
	})},
	{"VolumesAreWholeMultiplesOfTheSizeUnit", "says that it made what was asked for", dependentInfo, withVolumeStage(func(s *fakeVolumeStage) {
		s.commit = func(ctx context.Context) (backends.Volume, error) {
			v, err := s.memoryVolumeStage.Commit(ctx)
			v.SizeBytes = imageBytes + 1
			return v, err
		}
	})},
	{"ADiscardedVolumeLeavesNothing", "commits what was discarded", dependentInfo, withVolumeStage(func(s *fakeVolumeStage) {
		s.discard = func(context.Context) error { return nil }
	})},
	{"DiscardLeavesACommittedVolumeAlone", "removes a committed volume", dependentInfo, withVolumeStage(func(s *fakeVolumeStage) {
		s.discard = func(ctx context.Context) error {
			return s.memory.DeleteVolume(ctx, backends.VolumeRef{Name: s.spec.Name})
		}
	})},
	{"VolumeWritesBeyondTheEndAreRefused", "swallows writes beyond the end", dependentInfo, withVolumeStage(func(s *fakeVolumeStage) {
		s.writeAt = func(p []byte, _ int64) (int, error) { return len(p), nil }
	})},
	{"ADeletedVolumeIsGone", "does not delete", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(context.Context, backends.VolumeRef) error { return nil }
	})},
	{"DeleteByIDLeavesAnotherVolumeAlone", "deletes by name only", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(ctx context.Context, ref backends.VolumeRef) error {
			return f.Memory.DeleteVolume(ctx, backends.VolumeRef{Name: ref.Name})
		}
	})},
	{"AVolumeThatNobodyTouchedIsTakenBack", "takes nothing back", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(context.Context, backends.VolumeRef) error { return backends.ErrInUse }
	})},
	{"AVolumeThatSomebodyHasIsNotTakenBack", "takes back what was written", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(ctx context.Context, ref backends.VolumeRef) error {
			f.mu.Lock()
			if v := f.volumes[ref.Name]; v != nil {
				v.wrote = false
			}
			f.mu.Unlock()
			return f.Memory.DeleteVolume(ctx, ref)
		}
	})},
	{"AVolumeThatSomebodyHasIsNotTakenBack", "takes back what is in use", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(ctx context.Context, ref backends.VolumeRef) error {
			f.mu.Lock()
			if v := f.volumes[ref.Name]; v != nil {
				v.used = 0
			}
			f.mu.Unlock()
			return f.Memory.DeleteVolume(ctx, ref)
		}
	})},
	{"AVolumeThatSomebodyHasIsNotTakenBack", "settles what was cut", dependentInfo, with(func(f *fake) {
		f.settle = func(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if v := f.volumes[spec.Name]; v != nil {
				f.remove(v)
			}
			return backends.Removed, nil
		}
	})},
	{"VolumeIDsAreNeverUsedAgain", "counts IDs from the start again", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(ctx context.Context, ref backends.VolumeRef) error {
			err := f.Memory.DeleteVolume(ctx, ref)
			f.lastID = 0
			return err
		}
	})},
	{"ForeignVolumesStayUntouched", "lists what is not ours", dependentInfo, with(func(f *fake) {
		f.listVolumes = func(context.Context) iter.Seq2[backends.Volume, error] {
			return func(yield func(backends.Volume, error) bool) {
				for _, v := range f.volumes {
					if !yield(v.volume, nil) {
						return
					}
				}
			}
		}
	})},
	{"ForeignVolumesStayUntouched", "deletes what is not ours", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(ctx context.Context, ref backends.VolumeRef) error {
			delete(f.volumes, ref.Name)
			return backends.ErrNotOurs
		}
	})},
	{"ImageVolumesAndVolumesAreKeptApart", "removes a volume of the image-volume's name", dependentInfo, with(func(f *fake) {
		f.retire = func(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
			delete(f.volumes, backends.VolumeName(id))
			return f.Memory.Retire(ctx, id)
		}
	})},
	{"UnusableNamesAreRefused", "takes any name", dependentInfo, with(func(f *fake) {
		f.createVolume = func(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
			spec.Name += "x"
			return f.Memory.CreateVolume(ctx, spec)
		}
	})},
	{"UnusableNamesAreRefused", "tells that any name is usable", dependentInfo, with(func(f *fake) {
		f.checkName = func(backends.VolumeName) error { return nil }
	})},
	{"AVolumeListingMayBeLeftEarly", "lists with IDs that are not theirs", dependentInfo, with(func(f *fake) {
		f.deleteVolume = func(context.Context, backends.VolumeRef) error { return backends.ErrNotExist }
	})},
	{"StatOfNothingSaysSo", "describes what is not there", dependentInfo, with(func(f *fake) {
		f.statVolume = func(context.Context, backends.VolumeName) (backends.Volume, error) { return backends.Volume{}, nil }
	})},
	{"SettleKeepsAWholeVolume", "removes a whole volume", dependentInfo, with(func(f *fake) {
		f.settle = func(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
			_ = f.Memory.DeleteVolume(ctx, backends.VolumeRef{Name: spec.Name})
			return backends.Removed, nil
		}
	})},
	{"SettleLeavesAnotherAttemptsVolumeAlone", "goes by the name alone", dependentInfo, with(func(f *fake) {
		f.settle = func(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
			if v, err := f.Memory.StatVolume(ctx, spec.Name); err == nil && v.Token != spec.Token {
				return backends.Removed, f.Memory.DeleteVolume(ctx, backends.VolumeRef{Name: spec.Name})
			}
			return f.Memory.Settle(ctx, spec)
		}
	})},
	{"SettleOfNothingDoesNothing", "finds nothing to be an error", dependentInfo, with(func(f *fake) {
		f.settle = func(context.Context, backends.VolumeSpec) (backends.Settled, error) { return 0, backends.ErrNotExist }
	})},
	{"ACopyHasTheFilesContent", "makes empty copies", dependentInfo, copies(
		func(m *Memory, _ context.Context, _ *os.File, spec backends.VolumeSpec) (backends.Volume, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.add(spec, sparse{}).volume, nil
		})},
	{"ACopyNeverTouchesAnExistingVolume", "replaces a volume", dependentInfo, copies(carelessly)},
	{"ATooSmallCopyIsRefused", "cuts the file", dependentInfo, copies(carelessly)},
	{"ACancelledCopyLeavesNothing", "leaves a volume", dependentInfo, copies(
		func(m *Memory, ctx context.Context, src *os.File, spec backends.VolumeSpec) (backends.Volume, error) {
			_, _ = copyTo(m, src, spec)
			return backends.Volume{}, ctx.Err()
		})},
}

func copies(
	do func(*Memory, context.Context, *os.File, backends.VolumeSpec) (backends.Volume, error),
) func(*Memory) backends.Backend {
	return func(m *Memory) backends.Backend {
		return fakeCopier{m, func(ctx context.Context, src *os.File, spec backends.VolumeSpec, progress func(int64)) (backends.Volume, error) {
			if progress != nil {
				progress(imageBytes)
			}
			return do(m, ctx, src, spec)
		}}
	}
}

func carelessly(m *Memory, _ context.Context, src *os.File, spec backends.VolumeSpec) (backends.Volume, error) {
	return copyTo(m, src, spec)
}
