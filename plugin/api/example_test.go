package api_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// A control plane asks a daemon for a volume, and looks at the code of what goes wrong. The daemon here is one that the
// example serves itself, on a socket of its own.
func ExampleClient() {
	dir, err := os.MkdirTemp("", "cc")
	if err == nil {
		err = ask(context.Background(), dir)
	}
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// web-1: 4194304 bytes, 1048576 downloaded
	// web-2: image_not_found
}

func ask(ctx context.Context, dir string) error {
	url := "unix://" + filepath.Join(dir, "clonecache.sock")
	stop, err := serveExample(ctx, dir, url)
	if err != nil {
		return err
	}
	defer stop()

	client, err := api.NewClient(url, api.ClientConfig{})
	if err != nil {
		return err
	}
	answer, err := client.CreateVolume(ctx, api.CreateRequest{Image: "library:debian.raw", Volume: "web-1", SizeBytes: 4 << 20}, nil)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, %d downloaded\n", answer.Volume, answer.SizeBytes, answer.DownloadedBytes)

	var told *api.Error
	_, err = client.CreateVolume(ctx, api.CreateRequest{Image: "library:absent.raw", Volume: "web-2"}, nil)
	if errors.As(err, &told) {
		fmt.Printf("web-2: %s\n", told.Code)
	}
	return nil
}

// serveExample serves a cache whose volumes and images lie below dir, until stop.
func serveExample(ctx context.Context, dir, url string) (stop func(), err error) {
	if err := os.WriteFile(filepath.Join(dir, "debian.raw"), make([]byte, 1<<20), 0o600); err != nil {
		return nil, err
	}
	volumes, err := file.Open(ctx, file.Config{Name: "local", Path: filepath.Join(dir, "volumes")})
	if err != nil {
		return nil, err
	}
	files, err := filecache.Open(ctx, filecache.Config{Name: "files", Path: filepath.Join(dir, "files")})
	if err != nil {
		return nil, err
	}
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: dir})
	if err != nil {
		return nil, err
	}
	cache, err := plugin.Open(ctx, plugin.Config{
		StateDir:   filepath.Join(dir, "state"),
		Backends:   []plugin.BackendConfig{{Name: "local", Backend: volumes, Fallback: "files"}},
		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: files}},
		Sources:    []imagesource.Source{library},
	})
	if err != nil {
		return nil, err
	}
	server, err := api.NewServer(api.ServerConfig{})
	if err != nil {
		return nil, err
	}
	server.Ready(api.ServiceOf(cache))
	listeners, err := api.Listen(ctx, []string{url}, api.ListenConfig{})
	if err != nil {
		return nil, err
	}
	go func() { _ = server.Serve(listeners) }()
	return func() {
		_ = errors.Join(server.Shutdown(ctx), cache.Close(ctx), files.Close(), volumes.Close())
	}, nil
}
