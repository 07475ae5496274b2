package plugin

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/backends"
)

// listing is what a store says of its image-volumes.
type listing struct {
	read map[backends.ImageVolumeID]backends.ImageVolume
	// lost are those of read whose content is not there any more, and why.
	lost map[backends.ImageVolumeID]error
	// damaged are those of read whose description is not one, and why.
	damaged map[backends.ImageVolumeID]error
	// unread are those that could not be read now, and why. They are there, and that is all that is known.
	unread map[backends.ImageVolumeID]error
}

// has tells whether there is an image-volume of that ID, whatever it is.
func (l listing) has(id backends.ImageVolumeID) bool {
	if _, ok := l.read[id]; ok {
		return true
	}
	_, ok := l.unread[id]
	return ok
}

// listStore reads every image-volume of a store.
func listStore(ctx context.Context, s *store) (listing, error) {
	all := listing{
		read:    make(map[backends.ImageVolumeID]backends.ImageVolume),
		lost:    make(map[backends.ImageVolumeID]error),
		damaged: make(map[backends.ImageVolumeID]error), unread: make(map[backends.ImageVolumeID]error),
	}
	for iv, err := range s.images.ListImageVolumes(ctx) {
		switch {
		case err == nil:
			all.read[iv.ID] = iv
		case iv.ID == "":
			return listing{}, err
		case errors.Is(err, backends.ErrNotExist): // its content is lost: it has no state, and may be removed
			all.read[iv.ID], all.lost[iv.ID] = iv, err
		case errors.Is(err, backends.ErrNotOurs):
			all.read[iv.ID], all.damaged[iv.ID] = iv, err
		default:
			all.unread[iv.ID] = err
		}
	}
	return all, ctx.Err()
}

// findImageVolume is the one of that ID, or the zero ImageVolume where there is none, or one whose
// description is damaged. One that cannot be read now is an error.
func findImageVolume(ctx context.Context, s *store, id backends.ImageVolumeID) (backends.ImageVolume, error) {
	if id == "" {
		return backends.ImageVolume{}, nil
	}
	if looker, ok := backends.Capability[backends.ImageVolumeStater](s.images); ok {
		iv, err := looker.StatImageVolume(ctx, id)
		if errors.Is(err, backends.ErrNotOurs) || errors.Is(err, backends.ErrNotExist) {
			return backends.ImageVolume{}, nil
		}
		return iv, err
	}
	for iv, err := range s.images.ListImageVolumes(ctx) {
		switch {
		case err != nil && iv.ID == "":
			return backends.ImageVolume{}, err
		case iv.ID != id:
			continue
		case err != nil && !errors.Is(err, backends.ErrNotOurs) && !errors.Is(err, backends.ErrNotExist):
			return backends.ImageVolume{}, err
		}
		return iv, nil
	}
	return backends.ImageVolume{}, nil
}
