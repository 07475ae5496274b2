package backendtest

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/clonecache/clonecache/backends"
)

// Clone implements backends.Backend.
func (m *Memory) Clone(ctx context.Context, id backends.ImageVolumeID, spec backends.VolumeSpec) (backends.Volume, error) {
	spec = spec.Rounded()
	leave, err := m.enter(ctx)
	if err != nil {
		return backends.Volume{}, err
	}
	defer leave()
	image, err := m.cloneable(id, spec)
	if err != nil {
		return backends.Volume{}, fmt.Errorf("clone image-volume %s to volume %q: %w", id, spec.Name, err)
	}
	v := m.add(spec, image.pages.clone())
	if !m.config.Info.IndependentClones {
		image.clones[v] = true
		v.volume.DependsOn = string(id)
	}
	return v.volume, nil
}

// cloneable finds the image-volume, or says why no clone of it can be made.
func (m *Memory) cloneable(id backends.ImageVolumeID, spec backends.VolumeSpec) (*memoryImage, error) {
	if !m.config.Info.CanClone {
		return nil, backends.ErrCannotClone
	}
	if err := m.vacant(spec); err != nil {
		return nil, err
	}
	image := m.images[id]
	switch {
	case image == nil || image.state != backends.Committed:
		return nil, backends.ErrNotExist
	case spec.SizeBytes < image.bytes:
		return nil, backends.ErrTooSmall
	case m.config.CloneLimit > 0 && len(image.clones) >= m.config.CloneLimit:
		return nil, backends.ErrLimit
	}
	return image, nil
}

// CheckVolumeName implements backends.VolumeNamer.
func (*Memory) CheckVolumeName(name backends.VolumeName) error {
	if name == "" {
		return backends.ErrBadName
	}
	return nil
}

func (m *Memory) vacant(spec backends.VolumeSpec) error {
	if err := m.CheckVolumeName(spec.Name); err != nil {
		return err
	}
	switch {
	case spec.SizeBytes <= 0:
		return fmt.Errorf("size of %d bytes", spec.SizeBytes)
	case m.volumes[spec.Name] != nil:
		return backends.ErrExist
	}
	return nil
}

// Flatten implements backends.Flattener.
func (m *Memory) Flatten(ctx context.Context, name backends.VolumeName, progress func(done, total int64)) error {
	leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	v, err := m.find(name)
	if err != nil {
		return fmt.Errorf("flatten volume %q: %w", name, err)
	}
	for _, image := range m.images {
		delete(image.clones, v)
	}
	v.volume.DependsOn = ""
	if progress != nil {
		progress(v.volume.SizeBytes, v.volume.SizeBytes)
	}
	return nil
}

// add lets a volume appear.
func (m *Memory) add(spec backends.VolumeSpec, pages sparse) *memoryVolume {
	m.lastID++
	v := &memoryVolume{ours: true, pages: pages, volume: backends.Volume{
		Name: spec.Name, ID: backends.VolumeID(strconv.Itoa(m.lastID)), SizeBytes: spec.SizeBytes,
		HeldBytes: pages.held(), Token: spec.Token, Origin: spec.Origin, Complete: true,
	}}
	m.volumes[spec.Name] = v
	return v
}

// remove takes a volume away, also from the image-volume that it depends on.
func (m *Memory) remove(v *memoryVolume) {
	delete(m.volumes, v.volume.Name)
	for _, image := range m.images {
		delete(image.clones, v)
	}
}

// find finds a volume of ours.
func (m *Memory) find(name backends.VolumeName) (*memoryVolume, error) {
	v := m.volumes[name]
	switch {
	case v == nil:
		return nil, backends.ErrNotExist
	case !v.ours:
		return nil, backends.ErrNotOurs
	}
	return v, nil
}

// StatVolume implements backends.Volumes.
func (m *Memory) StatVolume(ctx context.Context, name backends.VolumeName) (backends.Volume, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return backends.Volume{}, err
	}
	defer leave()
	v, err := m.find(name)
	if err != nil {
		return backends.Volume{}, fmt.Errorf("stat volume %q: %w", name, err)
	}
	return v.volume, nil
}

// ListVolumes implements backends.Volumes.
func (m *Memory) ListVolumes(ctx context.Context) iter.Seq2[backends.Volume, error] {
	return func(yield func(backends.Volume, error) bool) {
		leave, err := m.enter(ctx)
		if err != nil {
			yield(backends.Volume{}, err)
			return
		}
		var list []backends.Volume
		for _, v := range m.volumes {
			if v.ours {
				list = append(list, v.volume)
			}
		}
		leave()
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// DeleteVolume implements backends.Volumes.
func (m *Memory) DeleteVolume(ctx context.Context, ref backends.VolumeRef) error {
	leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	v, err := m.find(ref.Name)
	switch {
	case err != nil:
	case ref.ID != "" && ref.ID != v.volume.ID:
		err = backends.ErrNotExist
	case v.used > 0, ref.ID != "" && v.wrote:
		err = backends.ErrInUse
	}
	if err != nil {
		return fmt.Errorf("delete volume %q: %w", ref.Name, err)
	}
	m.remove(v)
	return nil
}

// Settle implements backends.Volumes.
func (m *Memory) Settle(ctx context.Context, spec backends.VolumeSpec) (backends.Settled, error) {
	spec = spec.Rounded()
	leave, err := m.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	v, err := m.find(spec.Name)
	switch {
	case err != nil || spec.Token == "" || v.volume.Token != spec.Token:
		return backends.Absent, nil
	case v.volume.Complete:
		return backends.Whole, nil
	case v.used > 0:
		return 0, fmt.Errorf("settle volume %q: %w", spec.Name, backends.ErrInUse)
	}
	m.remove(v)
	return backends.Removed, nil
}

// CreateVolume implements backends.Volumes.
func (m *Memory) CreateVolume(ctx context.Context, spec backends.VolumeSpec) (backends.VolumeStage, error) {
	spec = spec.Rounded()
	leave, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := m.vacant(spec); err != nil {
		return nil, fmt.Errorf("create volume %q: %w", spec.Name, err)
	}
	return &memoryVolumeStage{memory: m, spec: spec, pages: sparse{}}, nil
}

type memoryVolumeStage struct {
	memory *Memory
	spec   backends.VolumeSpec
	pages  sparse // nil once it ended
}

func (s *memoryVolumeStage) enter(ctx context.Context) (leave func(), err error) {
	leave, err = s.memory.enter(ctx)
	if err == nil && s.pages == nil {
		leave()
		err = fmt.Errorf("unfinished volume %q: %w", s.spec.Name, backends.ErrNotExist)
	}
	return leave, err
}

func (s *memoryVolumeStage) WriteAt(p []byte, off int64) (int, error) {
	leave, err := s.enter(context.Background())
	if err != nil {
		return 0, err
	}
	defer leave()
	if off < 0 || off+int64(len(p)) > s.spec.SizeBytes {
		return 0, fmt.Errorf("write volume %q: %d bytes at %d are beyond its %d bytes", s.spec.Name, len(p), off, s.spec.SizeBytes)
	}
	if err := s.memory.room(len(p)); err != nil {
		return 0, fmt.Errorf("write volume %q: %w", s.spec.Name, err)
	}
	s.pages.writeAt(p, off)
	return len(p), nil
}

func (s *memoryVolumeStage) Commit(ctx context.Context) (backends.Volume, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return backends.Volume{}, err
	}
	defer leave()
	if err := s.memory.vacant(s.spec); err != nil {
		return backends.Volume{}, fmt.Errorf("commit volume %q: %w", s.spec.Name, err)
	}
	v := s.memory.add(s.spec, s.pages)
	s.pages = nil
	return v.volume, nil
}

func (s *memoryVolumeStage) Discard(context.Context) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.pages = nil
	return nil
}

// UseVolume implements User.
func (m *Memory) UseVolume(ctx context.Context, name backends.VolumeName, how Usage) (end func() error, err error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	v := m.volumes[name]
	if v == nil {
		return nil, fmt.Errorf("use volume %q: %w", name, backends.ErrNotExist)
	}
	if how == Writes {
		v.wrote = true
		return func() error { return nil }, nil
	}
	v.used++
	return func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		v.used--
		return nil
	}, nil
}

// OpenVolume implements Reader.
func (m *Memory) OpenVolume(ctx context.Context, name backends.VolumeName) (VolumeReader, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	v := m.volumes[name]
	if v == nil {
		return nil, fmt.Errorf("open volume %q: %w", name, backends.ErrNotExist)
	}
	return content{v.pages, v.volume.SizeBytes}, nil
}

// MakeForeign implements Foreigner.
func (m *Memory) MakeForeign(ctx context.Context, name backends.VolumeName, data []byte) error {
	leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	v := m.add(backends.VolumeSpec{Name: name, SizeBytes: int64(len(data))}, sparse{})
	v.pages.writeAt(data, 0)
	v.ours = false
	return nil
}
