package imagefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// Retire implements backends.Store for image-volumes that nothing depends on: whoever has the file
// open keeps it until it closes the file.
func (s *Store) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	if err := checkID(id); err != nil {
		return backends.Retired{}, err
	}
	if err := ctx.Err(); err != nil {
		return backends.Retired{}, err
	}
	if ended, held, err := s.endStage(id); ended || err != nil {
		return backends.Retired{Gone: err == nil, FreedBytes: held}, onImage("retire", id, err)
	}
	held, err := s.remove(id)
	if errors.Is(err, backends.ErrNotExist) {
		held, err = removeStaged(s.place.StagingPath(string(id)))
	}
	return backends.Retired{Gone: err == nil, FreedBytes: held}, onImage("retire", id, err)
}

// endStage ends what this process stages under that ID, and tells whether that was all there is to do.
func (s *Store) endStage(id backends.ImageVolumeID) (ended bool, held int64, err error) {
	s.mu.Lock()
	st := s.stages[id]
	s.mu.Unlock()
	if st == nil {
		return false, 0, nil
	}
	held, err = st.end()
	return st.life.Phase() != rawfile.Published, held, err
}

func (s *Store) remove(id backends.ImageVolumeID) (held int64, err error) {
	f, info, err := s.place.Open(string(id))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	// A record that cannot be read is ours all the same; one that is missing or another's is not, nor is a file that has lost its name
	// to a removal since.
	if _, err := s.record(f); errors.Is(err, backends.ErrNotOurs) || errors.Is(err, backends.ErrNotExist) {
		return 0, err
	}
	err = s.place.Remove(string(id), f)
	s.sources.drop(id)
	return rawfile.Occupied(info), err
}

// removeStaged removes what a process that died had staged, where that has a name.
func removeStaged(path string) (held int64, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, rawfile.Explain(err)
	}
	return rawfile.Occupied(info), rawfile.Explain(os.Remove(path))
}

// Reap implements backends.Store: nothing is ever detached here, and a Retire is a single unlink.
func (s *Store) Reap(ctx context.Context) (backends.Reaped, error) {
	return backends.Reaped{}, ctx.Err()
}

// List implements ListImageVolumes of backends.Store.
func (s *Store) List(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return func(yield func(backends.ImageVolume, error) bool) {
		seen := map[backends.ImageVolumeID]bool{}
		again := func(id backends.ImageVolumeID) bool { old := seen[id]; seen[id] = true; return old }
		for _, list := range []iter.Seq2[backends.ImageVolume, error]{
			s.listStages(), s.listDir(ctx, s.staging, s.readStaged), s.listDir(ctx, s.dir, s.read),
		} {
			for v, err := range list {
				if v.ID != "" && again(v.ID) {
					continue
				}
				if !yield(v, err) || v.ID == "" {
					return
				}
			}
		}
	}
}

// listStages lists what this process stages.
func (s *Store) listStages() iter.Seq2[backends.ImageVolume, error] {
	s.mu.Lock()
	var stages []*stage
	for _, st := range s.stages {
		stages = append(stages, st)
	}
	s.mu.Unlock()
	return func(yield func(backends.ImageVolume, error) bool) {
		for _, st := range stages {
			if v, ok := st.describe(); ok && !yield(v, nil) {
				return
			}
		}
	}
}

// describe tells of a stage that is still one.
func (st *stage) describe() (backends.ImageVolume, bool) {
	if phase := st.life.Phase(); st.draft.Load() == nil || phase == rawfile.Published || phase == rawfile.Discarded {
		return backends.ImageVolume{}, false
	}
	return backends.ImageVolume{
		ID: st.spec.ID, State: backends.Staged, VirtualBytes: st.spec.VirtualBytes,
		HeldBytes: st.HeldBytes(), Description: st.spec.Description,
	}, true
}

// listDir reads each file of a directory. What is gone by then is left out.
func (s *Store) listDir(
	ctx context.Context, dir string, read func(backends.ImageVolumeID) (backends.ImageVolume, error),
) iter.Seq2[backends.ImageVolume, error] {
	return func(yield func(backends.ImageVolume, error) bool) {
		found, err := os.ReadDir(dir)
		if err != nil {
			yield(backends.ImageVolume{}, rawfile.Explain(err))
			return
		}
		for _, entry := range found {
			if err := ctx.Err(); err != nil {
				yield(backends.ImageVolume{}, err)
				return
			}
			id := backends.ImageVolumeID(entry.Name())
			v, err := read(id)
			if errors.Is(err, backends.ErrNotExist) && v.ID == "" {
				continue // gone by now; one whose content is lost is reported
			}
			v.ID = id
			if errors.Is(err, backends.ErrNotOurs) {
				err = fmt.Errorf("%s: %w", filepath.Join(dir, entry.Name()), err)
			}
			if !yield(v, onImage("list", id, err)) {
				return
			}
		}
	}
}

func (s *Store) read(id backends.ImageVolumeID) (backends.ImageVolume, error) {
	f, info, err := s.place.Open(string(id))
	if err != nil {
		return backends.ImageVolume{}, err
	}
	defer f.Close()
	r, err := s.record(f)
	if err != nil {
		return backends.ImageVolume{}, err
	}
	v := s.describe(id, info, r)
	err = r.fits(info.Size())
	if err != nil {
		v.State = 0 // of no use in any
	}
	return v, err
}

// readStaged describes a file in the staging directory. The place is its mark: a process that died at
// the start may not have stamped it.
func (s *Store) readStaged(id backends.ImageVolumeID) (backends.ImageVolume, error) {
	info, err := os.Lstat(s.place.StagingPath(string(id)))
	if err != nil {
		return backends.ImageVolume{}, rawfile.Explain(err)
	}
	v := s.describe(id, fs.FileInfo(info), record{})
	v.State = backends.Staged
	if f, _, err := rawfile.OpenRegular(s.place.StagingPath(string(id))); err == nil {
		if r, err := s.record(f); err == nil {
			v.Description = r.Description
		}
		_ = f.Close()
	}
	return v, nil
}
