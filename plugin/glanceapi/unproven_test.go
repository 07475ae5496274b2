package glanceapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// fillsUp is a file cache whose disk is full behind the first bytes of what is staged from then on, once somebody has read them.
type fillsUp struct {
	plugin.FileCache
	full bool
}

func (c *fillsUp) Stage(ctx context.Context, spec backends.StageSpec) (backends.ImageVolumeStage, error) {
	s, err := c.FileCache.Stage(ctx, spec)
	if err != nil || !c.full {
		return s, err
	}
	return &fillingUp{ImageVolumeStage: s, read: make(chan struct{})}, nil
}

func (c *fillsUp) OpenImageVolume(ctx context.Context, id backends.ImageVolumeID) (backends.ImageVolumeContent, error) {
	return c.FileCache.(backends.ImageVolumeReader).OpenImageVolume(ctx, id)
}

type fillingUp struct {
	backends.ImageVolumeStage
	once sync.Once
	read chan struct{} // closed once the first bytes were read
}

func (s *fillingUp) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > 64<<10 {
		<-s.read
		return 0, fmt.Errorf("write: %w", backends.ErrNoSpace)
	}
	return s.ImageVolumeStage.WriteAt(p, off)
}

func (s *fillingUp) ReadAt(p []byte, off int64) (int, error) {
	defer s.once.Do(func() { close(s.read) })
	return s.ImageVolumeStage.(io.ReaderAt).ReadAt(p, off)
}

// Where an image comes from its image-volume, and no more of it can be kept than the first bytes, nothing has verified these: they are
// compared with Glance's before the rest comes from there.
func TestTheRestIsNotAddedToWrongBytes(t *testing.T) {
	for name, damaged := range map[string]bool{"right": false, "damaged": true} {
		t.Run(name, func(t *testing.T) {
			files := &fillsUp{}
			f := newFront(t, keeping, func(_ *glanceapi.Config, c *plugin.Config) {
				files.FileCache = c.FileCaches[0].Cache
				c.FileCaches[0].Cache = files
			})
			_, err := f.cache.CreateVolume(t.Context(), plugin.Request{Backend: "local", Image: "glance:" + plainImage, Volume: "v1"})
			must(t, err)
			if damaged {
				made, err := f.cache.Entries(t.Context(), plugin.EntryFilter{State: "ready"})
				must(t, err)
				file := f.dir + "/" + map[string]string{"files": "files", "local": "volumes"}[string(made[0].Backend)] + "/image-volumes/" + made[0].ImageVolume
				must(t, os.Chmod(file, 0o600))
				h, err := os.OpenFile(file, os.O_WRONLY, 0)
				must(t, err)
				_, err = h.WriteAt([]byte("damaged"), 5000)
				must(t, err)
				must(t, h.Close())
			}
			files.full = true
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/v2/images/"+plainImage+"/file", http.NoBody)
			must(t, err)
			r.Header.Set("X-Auth-Token", "demo")
			answer, err := f.Client().Transport.RoundTrip(r)
			must(t, err)
			body, err := io.ReadAll(answer.Body)
			must(t, answer.Body.Close())
			if damaged {
				if err == nil || len(body) >= len(f.glance.images[plainImage].data) {
					t.Errorf("got %d bytes, right: %v, %v, want it broken off", len(body), bytes.Equal(body, f.glance.images[plainImage].data), err)
				}
				return
			}
			must(t, err)
			f.wantImage(t, answer, body, plainImage)
		})
	}
}
