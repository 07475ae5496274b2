package plugin_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog/catalogtest"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

const mib = 1 << 20

// rig is a plugin on a real directory, with a directory of images.
type rig struct {
	*plugin.Plugin
	config plugin.Config
	dir    string
}

// newRig opens a plugin whose volumes, cache and images lie below dir.
func newRig(t testing.TB, dir string, bounds lru.Bounds, options ...option) *rig {
	t.Helper()
	for _, d := range []string{"images", "volumes", "files"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	backend, files := openStores(t, dir)
	library, err := imagesource.NewDirectory(imagesource.DirectoryConfig{Name: "library", Path: filepath.Join(dir, "images")})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: dir, config: plugin.Config{
		StateDir:   filepath.Join(dir, "state"),
		Backends:   []plugin.BackendConfig{{Name: "local", Backend: backend, Bounds: bounds, Fallback: "files"}},
		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: files}},
		Sources:    []imagesource.Source{library},
	}}
	for _, o := range options {
		o(&r.config)
	}
	if r.config.Catalog.URL == "" {
		catalogtest.InState(t, r.config.StateDir)
	}
	r.open(t)
	return r
}

// openStores opens a file backend and a file cache below dir.
func openStores(t testing.TB, dir string) (*file.Backend, *filecache.Cache) {
	t.Helper()
	for _, d := range []string{"volumes", "files"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	backend, err := file.Open(t.Context(), file.Config{Name: "local", Path: filepath.Join(dir, "volumes")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { backend.Close() })
	files, err := filecache.Open(t.Context(), filecache.Config{Name: "files", Path: filepath.Join(dir, "files")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	return backend, files
}

// option changes a rig's configuration.
type option func(*plugin.Config)

func withSource(s imagesource.Source) option {
	return func(c *plugin.Config) { c.Sources = append(c.Sources, s) }
}

func withQuota(volumes, gigabytes int64) option {
	return func(c *plugin.Config) {
		c.NewOwner = func(l internaltenant.Ledger) (internaltenant.Owner, error) {
			return internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "p", UserID: "u", MaxVolumes: volumes, MaxGigabytes: gigabytes}, l)
		}
	}
}

func withBackend(b backends.Backend) option {
	return func(c *plugin.Config) { c.Backends[0].Backend = b }
}

// waitFor waits for what another goroutine is about to bring about, for a minute at most.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it never came")
		}
		runtime.Gosched()
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return b
}

// noVolume checks that a volume is not there.
func (r *rig) noVolume(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(r.dir, "volumes", name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("volume %s: got %v, want none", name, err)
	}
}

// wantEntries checks how many entries there are, failed ones included, and returns them.
func (r *rig) wantEntries(t *testing.T, want int) []plugin.EntryView {
	t.Helper()
	entries, err := r.Entries(t.Context(), plugin.EntryFilter{State: "all"})
	if err != nil || len(entries) != want {
		t.Fatalf("entries: got %d (%+v), %v, want %d", len(entries), entries, err, want)
	}
	return entries
}

func (r *rig) open(t testing.TB) {
	t.Helper()
	p, err := plugin.Open(t.Context(), r.config)
	if err != nil {
		t.Fatal(err)
	}
	r.Plugin = p
	t.Cleanup(func() {
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// image writes a raw image of size bytes, half of it random, and returns its content.
func (r *rig) image(t testing.TB, name string, size int) []byte {
	t.Helper()
	content := append(random(size/2), make([]byte, size-size/2)...)
	if err := os.WriteFile(filepath.Join(r.dir, "images", name), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return content
}

func (r *rig) create(t *testing.T, image, volume string, size int64) plugin.Answer {
	t.Helper()
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: image, Volume: backends.VolumeName(volume), SizeBytes: size})
	if err != nil {
		t.Fatalf("create %s from %s: %v", volume, image, err)
	}
	return a
}

// holds checks that a volume's bytes are the image's, and zeroes beyond.
func (r *rig) holds(t *testing.T, a plugin.Answer, content []byte) {
	t.Helper()
	got, err := os.ReadFile(a.Path)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != a.SizeBytes {
		t.Fatalf("volume %s has %d bytes, want %d", a.Volume, len(got), a.SizeBytes)
	}
	if !bytes.Equal(got[:len(content)], content) || len(bytes.TrimLeft(got[len(content):], "\x00")) != 0 {
		t.Fatalf("volume %s differs from its image", a.Volume)
	}
}

func TestFirstRequestFillsAndLaterOnesHit(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{MaxCount: 10})
	content := r.image(t, "disk.raw", 8*mib)

	first := r.create(t, "library:disk.raw", "v1", 16*mib)
	if first.Outcome != plugin.Filled || first.DownloadedBytes != 8*mib {
		t.Fatalf("first: got %+v, want filled", first)
	}
	r.holds(t, first, content)
	second := r.create(t, "library:disk.raw", "v2", 0)
	if second.Outcome != plugin.Hit || second.DownloadedBytes != 0 {
		t.Fatalf("second: got %+v, want hit", second)
	}
	r.holds(t, second, content)
	again := r.create(t, "library:disk.raw", "v2", 0)
	if again.Outcome != plugin.Hit || again.Reason != plugin.ReasonRepeated || again.VolumeID != second.VolumeID {
		t.Fatalf("repeated: got %+v, want the same volume", again)
	}
	if _, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:disk.raw", Volume: "v2", SizeBytes: 32 * mib}); !errors.Is(err, plugin.ErrConflict) {
		t.Fatalf("another size: got %v, want ErrConflict", err)
	}
	checkClean(t, r)
}

func TestBackendWithoutClonesCopiesFromTheFileCache(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.Ext4, 256*mib), lru.Bounds{})
	content := r.image(t, "disk.raw", 8*mib)
	first := r.create(t, "library:disk.raw", "v1", 16*mib)
	if first.Outcome != plugin.Copied || first.Reason != plugin.ReasonCannotClone || first.DownloadedBytes != 8*mib {
		t.Fatalf("first: got %+v, want copied", first)
	}
	r.holds(t, first, content)
	second := r.create(t, "library:disk.raw", "v2", 0)
	if second.Outcome != plugin.Copied || second.DownloadedBytes != 0 {
		t.Fatalf("second: got %+v, want copied without a download", second)
	}
	r.holds(t, second, content)
	checkClean(t, r)
}

// checkClean wants catalog, backends and quota to agree.
func checkClean(t *testing.T, r *rig) {
	t.Helper()
	got, err := r.Check(t.Context(), plugin.CheckOptions{Deep: true})
	if err != nil || !got.OK {
		t.Fatalf("check: %+v, %v", got, err)
	}
}

// wantHeld checks how many image-volumes lie on the disk, and that quota and use agree with it.
func (r *rig) wantHeld(t *testing.T, want int) {
	t.Helper()
	for _, d := range []string{"volumes/.clonecache/image-volumes", "files/image-volumes"} {
		left, err := os.ReadDir(filepath.Join(r.dir, d))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		want -= len(left)
	}
	if want != 0 {
		t.Errorf("image-volumes on disk: %d too few or (negative) too many", want)
	}
}
