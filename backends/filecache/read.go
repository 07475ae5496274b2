package filecache

import (
	"context"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// OpenImageVolume implements backends.ImageVolumeReader.
func (c *Cache) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	f, image, err := c.images.OpenImage(ctx, id)
	if err != nil {
		return nil, err
	}
	return rawfile.Reader{File: f, Size: image.VirtualBytes}, nil
}
