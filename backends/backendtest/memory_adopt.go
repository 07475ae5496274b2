package backendtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/clonecache/clonecache/backends"
)

var (
	_ backends.Adopter = (*Memory)(nil)
	_ OwnersService    = (*Memory)(nil)
)

// CanAdopt implements backends.Adopter.
func (m *Memory) CanAdopt() bool { return m.config.Adopts }

// adopt makes the volume's content the image-volume's.
func (m *Memory) adopt(image *memoryImage, spec backends.StageSpec) error {
	v := m.volumes[spec.Adopt]
	switch {
	case !m.config.Adopts:
		return errors.New("this memory backend was made without adoption")
	case v == nil:
		return backends.ErrNotExist
	case v.ours || v.image != "" || len(v.pages) > 0:
		return backends.ErrNotOurs
	}
	v.image, v.volume.SizeBytes = spec.ID, spec.VirtualBytes
	image.adopted, image.pages = v, v.pages
	return nil
}

// end removes an image-volume; one that was adopted is its owner's again.
func (m *Memory) end(id backends.ImageVolumeID) {
	if v := m.images[id].adopted; v != nil {
		v.image = ""
	}
	delete(m.images, id)
}

// MakeOwned implements OwnersService.
func (m *Memory) MakeOwned(ctx context.Context, name backends.VolumeName, size int64) error {
	leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	spec := backends.VolumeSpec{Name: name, SizeBytes: size}
	if err := m.vacant(spec); err != nil {
		return fmt.Errorf("make volume %q: %w", name, err)
	}
	m.add(spec, sparse{}).ours = false
	return nil
}

// DeleteOwned implements OwnersService.
func (m *Memory) DeleteOwned(ctx context.Context, name backends.VolumeName) error {
	leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	v := m.volumes[name]
	switch {
	case v == nil:
		return fmt.Errorf("delete volume %q: %w", name, backends.ErrNotExist)
	case v.image != "":
		return fmt.Errorf("delete volume %q: image-volume %s needs it: %w", name, v.image, backends.ErrInUse)
	}
	m.remove(v)
	return nil
}

// WriteOwned implements OwnersService.
func (m *Memory) WriteOwned(ctx context.Context, name backends.VolumeName, data []byte) error {
	leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	v := m.volumes[name]
	if v == nil {
		return fmt.Errorf("write volume %q: %w", name, backends.ErrNotExist)
	}
	v.pages.writeAt(data, 0)
	return nil
}

// OpenOwned implements OwnersService.
func (m *Memory) OpenOwned(ctx context.Context, name backends.VolumeName) (VolumeReader, error) {
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
