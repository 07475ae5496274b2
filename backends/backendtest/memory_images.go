package backendtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/allot"
)

// Stage implements backends.Store.
func (m *Memory) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	spec = spec.Rounded()
	leave, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	switch {
	case spec.ID == "":
		return nil, fmt.Errorf("stage image-volume without an ID: %w", backends.ErrBadName)
	case spec.VirtualBytes <= 0:
		return nil, fmt.Errorf("stage image-volume %s: virtual size of %d bytes", spec.ID, spec.VirtualBytes)
	case m.images[spec.ID] != nil:
		return nil, fmt.Errorf("stage image-volume %s: %w", spec.ID, backends.ErrExist)
	}
	image := &memoryImage{
		state: backends.Staged, bytes: spec.VirtualBytes, pages: sparse{},
		description: m.dated(spec.Description), clones: map[*memoryVolume]bool{},
	}
	if spec.Adopt != "" {
		if err := m.adopt(image, spec); err != nil {
			return nil, fmt.Errorf("stage image-volume %s: adopt volume %s: %w", spec.ID, spec.Adopt, err)
		}
	}
	m.images[spec.ID] = image
	held := allot.New(allot.Config{UnitBytes: pageBytes, Room: spec.Room})
	return &memoryImageStage{memory: m, id: spec.ID, image: image, held: held}, nil
}

func (m *Memory) dated(d backends.Description) backends.Description {
	d.ImageIDs = slices.Clone(d.ImageIDs)
	if d.CreatedAt.IsZero() {
		d.CreatedAt = m.config.Now().UTC()
	}
	return d
}

type memoryImageStage struct {
	memory *Memory
	id     backends.ImageVolumeID
	image  *memoryImage
	held   *allot.Count
}

// enter locks the backend, if the stage is still one.
func (s *memoryImageStage) enter(ctx context.Context) (leave func(), err error) {
	leave, err = s.memory.enter(ctx)
	if err != nil {
		return nil, err
	}
	if s.memory.images[s.id] != s.image || s.image.state != backends.Staged {
		leave()
		return nil, fmt.Errorf("staged image-volume %s: %w", s.id, backends.ErrNotExist)
	}
	return leave, nil
}

func (s *memoryImageStage) WriteAt(p []byte, off int64) (int, error) {
	if all := (allot.Range{From: off, To: off + int64(len(p))}); off >= 0 && all.To <= s.image.bytes {
		if _, err := s.held.Take(all, all); err != nil {
			return 0, fmt.Errorf("write image-volume %s: %w", s.id, err)
		}
	}
	leave, err := s.enter(context.Background())
	if err != nil {
		return 0, err
	}
	defer leave()
	if off < 0 || off+int64(len(p)) > s.image.bytes {
		return 0, fmt.Errorf("write image-volume %s: %d bytes at %d are beyond its %d bytes", s.id, len(p), off, s.image.bytes)
	}
	if err := s.memory.room(len(p)); err != nil {
		return 0, fmt.Errorf("write image-volume %s: %w", s.id, err)
	}
	s.image.pages.writeAt(p, off)
	return len(p), nil
}

func (s *memoryImageStage) HeldBytes() int64 { return s.held.Bytes() }

func (s *memoryImageStage) Commit(ctx context.Context, final backends.Description) (backends.ImageVolume, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return backends.ImageVolume{}, err
	}
	defer leave()
	s.image.state = backends.Committed
	s.image.description = s.memory.dated(final)
	return s.image.describe(s.id), nil
}

func (s *memoryImageStage) Discard(context.Context) error {
	leave, err := s.enter(context.Background())
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer leave()
	s.memory.end(s.id)
	return nil
}

func (i *memoryImage) describe(id backends.ImageVolumeID) backends.ImageVolume {
	d := i.description
	d.ImageIDs = slices.Clone(d.ImageIDs)
	return backends.ImageVolume{
		ID: id, State: i.state, VirtualBytes: i.bytes, HeldBytes: i.pages.held(),
		Clones: len(i.clones), Description: d,
	}
}

// Retire implements backends.Store.
func (m *Memory) Retire(ctx context.Context, id backends.ImageVolumeID) (backends.Retired, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return backends.Retired{}, err
	}
	defer leave()
	image := m.images[id]
	if image == nil {
		return backends.Retired{}, fmt.Errorf("retire image-volume %s: %w", id, backends.ErrNotExist)
	}
	if len(image.clones) > 0 || image.watchers > 0 {
		image.state = backends.Detached
		return backends.Retired{Clones: len(image.clones)}, nil
	}
	m.end(id)
	return backends.Retired{Gone: true, FreedBytes: image.pages.held()}, nil
}

// Reap implements backends.Store.
func (m *Memory) Reap(ctx context.Context) (backends.Reaped, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return backends.Reaped{}, err
	}
	defer leave()
	var reaped backends.Reaped
	for id, image := range m.images {
		if image.state == backends.Detached && len(image.clones) == 0 && image.watchers == 0 {
			m.end(id)
			reaped.ImageVolumes = append(reaped.ImageVolumes, id)
			reaped.FreedBytes += image.pages.held()
		}
	}
	return reaped, nil
}

// Watch has an image-volume open, as a client does that a cluster has not missed yet: it is not freed before end.
func (m *Memory) Watch(id backends.ImageVolumeID) (end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	image := m.images[id]
	image.watchers++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		image.watchers--
	}
}

// ListImageVolumes implements backends.Store.
func (m *Memory) ListImageVolumes(ctx context.Context) iter.Seq2[backends.ImageVolume, error] {
	return func(yield func(backends.ImageVolume, error) bool) {
		leave, err := m.enter(ctx)
		if err != nil {
			yield(backends.ImageVolume{}, err)
			return
		}
		var list []backends.ImageVolume
		for id, image := range m.images {
			list = append(list, image.describe(id))
		}
		leave()
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// StatImageVolume implements backends.ImageVolumeStater.
func (m *Memory) StatImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return backends.ImageVolume{}, err
	}
	defer leave()
	image := m.images[id]
	if image == nil {
		return backends.ImageVolume{}, fmt.Errorf("describe image-volume %s: %w", id, backends.ErrNotExist)
	}
	return image.describe(id), nil
}

// OpenImageVolume implements backends.ImageVolumeReader.
func (m *Memory) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	image := m.images[id]
	if image == nil || image.state != backends.Committed {
		return nil, fmt.Errorf("open image-volume %s: %w", id, backends.ErrNotExist)
	}
	return content{image.pages, image.bytes}, nil
}

// Abandon forgets the stages that are open, as if the process had died: their image-volumes stay
// Staged, volumes that were being written are gone. It returns how many image-volumes are Staged.
func (m *Memory) Abandon() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	staged := 0
	for id, image := range maps.Clone(m.images) {
		if image.state == backends.Staged {
			left := *image
			m.images[id] = &left
			staged++
		}
	}
	return staged
}
