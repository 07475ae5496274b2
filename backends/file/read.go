package file

import (
	"context"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// OpenImageVolume implements backends.ImageVolumeReader.
func (b *Backend) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	f, image, err := b.images.OpenImage(ctx, id)
	if err != nil {
		return nil, err
	}
	return rawfile.Reader{File: f, Size: image.VirtualBytes}, nil
}
