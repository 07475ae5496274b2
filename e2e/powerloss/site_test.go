package powerloss_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// bound is how many image-volumes the backend may hold; the file cache may hold one more.
const bound = 2

// library is the images, which lie on no recorded disk.
type library struct {
	dir     string
	content map[string][]byte
}

// newLibrary makes images of different lengths, each with data, a hole and data again.
func newLibrary(t *testing.T) *library {
	t.Helper()
	l := &library{dir: t.TempDir(), content: map[string][]byte{}}
	random := rand.NewChaCha8([32]byte{1})
	for n, name := range []string{"a", "b", "c", "d"} {
		content := make([]byte, mib+n*200<<10+n*512)
		_, _ = random.Read(content[:300<<10])
		_, _ = random.Read(content[mib-100<<10:])
		l.content[name] = content
		if err := os.WriteFile(filepath.Join(l.dir, name+".raw"), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func ref(image string) string { return "library:" + image + ".raw" }

// site is an open plugin whose backend, file cache and state all lie on one filesystem.
type site struct {
	*plugin.Plugin
	backend *file.Backend
	files   *filecache.Cache
	log     bytes.Buffer // logrus writes to it from one goroutine at a time; read it after close
}

// Directories of a site.
const (
	volumesDir = "volumes"
	filesDir   = "files"
	stateDir   = "state"
)

// open opens what lies in dir. What the plugin says of it can be read in its log.
func (l *library) open(ctx context.Context, dir string) (s *site, err error) {
	s = &site{}
	log := logrus.New()
	log.SetOutput(&s.log)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	if s.backend, err = file.Open(ctx, file.Config{Name: "local", Path: filepath.Join(dir, volumesDir)}); err != nil {
		return s, err
	}
	if s.files, err = filecache.Open(ctx, filecache.Config{Name: "files", Path: filepath.Join(dir, filesDir)}); err != nil {
		return s, err
	}
	images, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: l.dir})
	if err != nil {
		return s, err
	}
	s.Plugin, err = plugin.Open(ctx, plugin.Config{
		StateDir:   filepath.Join(dir, stateDir),
		Backends:   []plugin.BackendConfig{{Name: "local", Backend: s.backend, Fallback: "files", Bounds: lru.Bounds{MaxCount: bound}}},
		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: s.files, Bounds: lru.Bounds{MaxCount: bound + 1}}},
		Sources:    []imagesource.Source{images},
		Log:        log,
		FlushEvery: 20 * time.Millisecond, // often, so that the catalog's and the journal's writes interleave
		NewOwner: func(ledger internaltenant.Ledger) (internaltenant.Owner, error) {
			return internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "p", UserID: "u", MaxVolumes: bound}, ledger)
		},
	})
	return s, err
}

func (s *site) close(ctx context.Context) error {
	var errs []error
	if s.Plugin != nil {
		errs = append(errs, s.Close(ctx))
	}
	if s.files != nil {
		errs = append(errs, s.files.Close())
	}
	if s.backend != nil {
		errs = append(errs, s.backend.Close())
	}
	return errors.Join(errs...)
}
