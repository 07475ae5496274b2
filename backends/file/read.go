package file

import (
	"context"

	"github.com/clonecache/clonecache/backends"
)

// OpenImageVolume implements backends.ImageVolumeReader.
func (b *Backend) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	f, _, err := b.images.OpenImage(ctx, id)
	if err != nil {
		return nil, err
	}
	return f, nil
}
