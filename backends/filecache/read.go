package filecache

import (
	"context"

	"github.com/clonecache/clonecache/backends"
)

// OpenImageVolume implements backends.ImageVolumeReader.
func (c *Cache) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	f, _, err := c.images.OpenImage(ctx, id)
	if err != nil {
		return nil, err
	}
	return f, nil
}
