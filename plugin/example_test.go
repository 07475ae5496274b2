package plugin_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// A block-storage control plane embeds the plugin: it opens a backend and an image source, and asks for
// volumes. The second volume downloads nothing, whether the backend can clone or not.
func Example() {
	dir, err := os.MkdirTemp("", "clonecache")
	if err == nil {
		err = embed(context.Background(), dir)
	}
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// web-1: 4194304 bytes, 1114112 downloaded
	// web-2: 4194304 bytes, 0 downloaded
}

// embed keeps everything below dir.
func embed(ctx context.Context, dir string) error {
	image := bytes.Repeat([]byte("a disk's content "), 1<<16)
	if err := os.WriteFile(filepath.Join(dir, "debian.raw"), image, 0o600); err != nil {
		return err
	}

	volumes, err := file.Open(ctx, file.Config{Name: "local", Path: filepath.Join(dir, "volumes")})
	if err != nil {
		return err
	}
	defer volumes.Close()
	files, err := filecache.Open(ctx, filecache.Config{Name: "files", Path: filepath.Join(dir, "files")})
	if err != nil {
		return err
	}
	defer files.Close()
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: dir})
	if err != nil {
		return err
	}

	cache, err := plugin.Open(ctx, plugin.Config{
		StateDir:   filepath.Join(dir, "state"),
		Backends:   []plugin.BackendConfig{{Name: "local", Backend: volumes, Bounds: lru.Bounds{MaxCount: 50}, Fallback: "files"}},
		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: files}},
		Sources:    []imagesource.Source{library},
	})
	if err != nil {
		return err
	}
	defer cache.Close(ctx)

	for _, name := range []backends.VolumeName{"web-1", "web-2"} {
		answer, err := cache.CreateVolume(ctx, plugin.Request{Image: "library:debian.raw", Volume: name, SizeBytes: 4 << 20})
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes, %d downloaded\n", answer.Volume, answer.SizeBytes, answer.DownloadedBytes)
	}
	return nil
}
