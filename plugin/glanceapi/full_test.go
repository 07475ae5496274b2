package glanceapi_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// fullCache is a file cache on a disk that has room for so many bytes of each image.
type fullCache struct {
	plugin.FileCache
	room int64
}

func (c fullCache) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	s, err := c.FileCache.Stage(ctx, spec)
	return fullStage{s, c.room}, err
}

type fullStage struct {
	backends.ImageVolumeStage
	room int64
}

func (s fullStage) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.room {
		return 0, fmt.Errorf("write: %w", backends.ErrNoSpace)
	}
	return s.ImageVolumeStage.WriteAt(p, off)
}

func (s fullStage) ReadAt(p []byte, off int64) (int, error) {
	return s.ImageVolumeStage.(io.ReaderAt).ReadAt(p, off)
}

// Where the disk is full before the first byte or behind it, the caller gets all the same, and nothing is left over.
func TestAFullDisk(t *testing.T) {
	for _, room := range []int64{0, 64 << 10, 256 << 10} {
		f := newFront(t, keeping, func(_ *glanceapi.Config, c *plugin.Config) {
			c.FileCaches[0].Cache = fullCache{c.FileCaches[0].Cache, room}
		})
		for range 2 {
			answer, body := f.download(t, "demo", plainImage)
			f.wantImage(t, answer, body, plainImage)
		}
		until(t, "nothing is left over", func() bool {
			entries, err := f.cache.Entries(t.Context(), plugin.EntryFilter{Backend: "files", State: "all"})
			stores, other := f.cache.Backends(t.Context())
			must(t, other)
			return err == nil && len(entries) == 0 && stores[1].Name == "files" && stores[1].HeldBytes == 0
		})
		if r, err := f.cache.Check(t.Context(), plugin.CheckOptions{}); err != nil || len(r.Problems) > 0 {
			t.Errorf("room for %d: check: %+v, %v", room, r.Problems, err)
		}
	}
}
