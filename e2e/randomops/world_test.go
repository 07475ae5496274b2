package randomops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// storeNames are the backend and its file cache.
var storeNames = []backends.Name{"local", "files"}

// cloneLimit is how many clones a backend in memory makes of one image-volume.
const cloneLimit = 3

// world is a real plugin on a real directory, and what lies around it.
type world struct {
	*plugin.Plugin
	dir    string
	set    settings
	memory *backendtest.Memory // nil where the backend is the directory's own
	step   func()              // is told of each step; nil: nobody
	now    func() time.Time
	host   seat // zero: the only one

	backend backends.Backend
	cache   *filecache.Cache
	changes int // of images, for their times
	buffer  []byte
}

// newWorld makes the directories and opens the plugin.
func newWorld(ctx context.Context, dir string, memory *backendtest.Memory) (*world, error) {
	w := &world{dir: dir, memory: memory}
	for _, d := range []string{"images/sums", "volumes", "files", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	return w, w.open(ctx)
}

// open opens stores and plugin as the settings say.
func (w *world) open(ctx context.Context) (err error) {
	if w.host.backend != nil {
		return w.openSeat(ctx)
	}
	if err := w.openStores(ctx); err != nil {
		return err
	}
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: filepath.Join(w.dir, "images")})
	if err != nil {
		return err
	}
	backend, cache := w.backend, plugin.FileCache(w.cache)
	if w.step != nil {
		backend, cache = steppingBackend{w.backend.(*file.Backend), w.step}, steppingCache{w.cache, w.step}
	}
	w.Plugin, err = plugin.Open(ctx, plugin.Config{
		StateDir: filepath.Join(w.dir, "state"), Host: "host",
		Backends: []plugin.BackendConfig{{
			Name: "local", Backend: backend, Fallback: "files", KeepForQuota: true, // as the model does
			Bounds: lru.Bounds{MaxBytes: w.set.MaxBytes, MaxCount: w.set.MaxCount},
		}},
		FileCaches: []plugin.FileCacheConfig{{
			Name: "files", Cache: cache,
			Bounds: lru.Bounds{MaxBytes: w.set.FilesMaxBytes, MaxCount: w.set.FilesMaxCount},
		}},
		Sources:  []imagesource.Source{library},
		NewOwner: w.owner,
		Now:      w.now,
	})
	return err
}

func (w *world) owner(l internaltenant.Ledger) (internaltenant.Owner, error) {
	return internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "p", UserID: "u", MaxVolumes: w.set.Volumes}, l)
}

func (w *world) openStores(ctx context.Context) (err error) {
	w.backend = w.memory
	if w.memory == nil {
		w.backend, err = file.Open(ctx, file.Config{Name: "local", Path: filepath.Join(w.dir, "volumes")})
		if err != nil {
			return err
		}
	}
	w.cache, err = filecache.Open(ctx, filecache.Config{Name: "files", Path: filepath.Join(w.dir, "files")})
	return err
}

// close closes all but a backend in memory, which would lose what it holds.
func (w *world) close(ctx context.Context) error {
	err := errors.Join(w.Close(ctx), w.cache.Close())
	if w.memory == nil {
		err = errors.Join(err, w.backend.Close())
	}
	return err
}

// reopen lets something happen while the plugin is closed.
func (w *world) reopen(ctx context.Context, meanwhile func() error) error {
	if err := w.close(ctx); err != nil {
		return err
	}
	if err := meanwhile(); err != nil {
		return err
	}
	return w.open(ctx)
}

// putImage gives an image its content, or takes it away (content -1); promised is the content whose
// digest the list beside it has.
func (w *world) putImage(image, content, promised int) error {
	path := filepath.Join(w.dir, "images", imageNames[image])
	if content < 0 {
		err := os.Remove(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := w.putFile(path, contentBytes()[content]); err != nil {
		return err
	}
	if !listed(image) {
		return nil
	}
	return w.list(filepath.Base(path), digests()[promised])
}

// putFile replaces a file; each has a time of its own, however coarse the filesystem's are.
func (w *world) putFile(path string, content []byte) error {
	w.changes++
	fresh := path + ".new"
	if err := os.WriteFile(fresh, content, 0o644); err != nil {
		return err
	}
	at := time.Unix(1_700_000_000+int64(w.changes), 0)
	return errors.Join(os.Chtimes(fresh, at, at), os.Rename(fresh, path))
}

// list sets an image's digest in the list beside it.
func (w *world) list(name, digest string) error {
	path := filepath.Join(w.dir, "images", "sums", "SHA256SUMS")
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var lines strings.Builder
	for line := range strings.Lines(string(old)) {
		if !strings.HasSuffix(line, "  "+name+"\n") {
			lines.WriteString(line)
		}
	}
	fmt.Fprintf(&lines, "%s  %s\n", strings.TrimPrefix(digest, "sha256:"), name)
	return w.putFile(path, []byte(lines.String()))
}

// settled looks at nothing more: all was looked at after each operation.
func (*world) settled(*rapid.T, *run) {}

// storeOf is the store itself, without the plugin.
func (w *world) storeOf(store int) backends.Store {
	if store == 0 {
		return w.backend
	}
	return w.cache
}

// volumeBytes reads a whole volume. The bytes are good until the next ones are read.
func (w *world) volumeBytes(ctx context.Context, name string) ([]byte, error) {
	if w.memory == nil {
		f, err := os.Open(filepath.Join(w.dir, "volumes", name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return w.all(f)
	}
	r, err := w.memory.OpenVolume(ctx, backends.VolumeName(name))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return w.all(r)
}

// imageBytes reads a whole image-volume, as volumeBytes does.
func (w *world) imageBytes(ctx context.Context, store int, id backends.ImageVolumeID) ([]byte, error) {
	if store == 0 {
		c, err := w.backend.(backends.ImageVolumeReader).OpenImageVolume(ctx, id)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return w.all(c)
	}
	f, _, err := w.cache.OpenImage(ctx, id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return w.all(f)
}

// all reads to the end, which is before that of the buffer.
func (w *world) all(r io.ReaderAt) ([]byte, error) {
	if w.buffer == nil {
		w.buffer = make([]byte, 2<<20)
	}
	n, err := r.ReadAt(w.buffer, 0)
	if errors.Is(err, io.EOF) {
		return w.buffer[:n], nil
	}
	return nil, errors.Join(err, errors.New("longer than anything that was asked for"))
}

// damage does harm to the catalog's file, while it is closed.
func (w *world) damage(kind harmKind) error {
	path := filepath.Join(w.dir, "state", "catalog.db")
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	switch kind {
	case lost:
		for _, f := range []string{path, path + "-wal", path + "-shm"} {
			if err := os.RemoveAll(f); err != nil {
				return err
			}
		}
		return nil
	case garbled:
		return os.WriteFile(path, contentBytes()[0], 0o600)
	case truncated:
		return os.Truncate(path, info.Size()/2)
	case scratched:
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(bytes.Repeat([]byte("scratched "), page/10), info.Size()/2/page*page)
		return errors.Join(err, f.Close())
	}
	return fmt.Errorf("harm %q", kind)
}
