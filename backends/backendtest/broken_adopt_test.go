package backendtest

import (
	"context"

	"github.com/clonecache/clonecache/backends"
)

// adopting is a Memory that adopts, broken.
func adopting(breakIt func(*fake)) func(*Memory) backends.Backend {
	return func(m *Memory) backends.Backend {
		m.config.Adopts = true
		return with(breakIt)(m)
	}
}

// loseOwned removes the volume that was adopted, as if it were ours.
func loseOwned(m *Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.volumes, owned)
}

var brokenAdoptions = []brokenBackend{
	{"AnAdoptedVolumeBecomesTheImageVolume", "makes a new image-volume instead", dependentInfo, adopting(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			spec.Adopt = ""
			return f.Memory.Stage(ctx, spec)
		}
	})},
	{"AnAdoptedVolumeIsNoVolumeOfOurs", "takes it for a requester's", dependentInfo, adopting(func(f *fake) {
		f.deleteVolume = func(context.Context, backends.VolumeRef) error { return nil }
	})},
	{"ARetiredAdoptedVolumeIsItsOwners", "removes it", dependentInfo, adopting(func(f *fake) {
		f.retire = func(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
			defer loseOwned(f.Memory)
			return f.Memory.Retire(ctx, id)
		}
	})},
	{"ADiscardedAdoptedVolumeIsItsOwners", "keeps it from being removed", dependentInfo, adopting(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			s, err := f.Memory.Stage(ctx, spec)
			if err != nil {
				return nil, err
			}
			stage := s.(*memoryImageStage)
			return fakeImageStage{memoryImageStage: stage, discard: func(context.Context) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				delete(f.images, spec.ID)
				return nil
			}}, nil
		}
	})},
	{"ADetachedAdoptedVolumeIsGivenBackByReap", "removes it", dependentInfo, adopting(func(f *fake) {
		f.reap = func(ctx context.Context) (backends.Reaped, error) {
			defer loseOwned(f.Memory)
			return f.Memory.Reap(ctx)
		}
	})},
	{"AVolumeThatIsNotThereIsNotAdopted", "makes a new one", dependentInfo, adopting(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			spec.Adopt = ""
			return f.Memory.Stage(ctx, spec)
		}
	})},
	{"AVolumeWithDataIsNotAdopted", "writes over it", dependentInfo, adopting(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			f.mu.Lock()
			clear(f.volumes[owned].pages)
			f.mu.Unlock()
			return f.Memory.Stage(ctx, spec)
		}
	})},
	{"AnAdoptedVolumeIsNotAdoptedAgain", "shares it", dependentInfo, adopting(func(f *fake) {
		f.stage = func(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
			f.mu.Lock()
			f.volumes[owned].image, f.volumes[owned].pages = "", sparse{}
			f.mu.Unlock()
			return f.Memory.Stage(ctx, spec)
		}
	})},
}
