package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/backends/filecache"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// rig is a real plugin with a file backend and a file cache on XFS, for faults that the daemon's
// configuration cannot be set up for.
type rig struct {
	*plugin.Plugin
	dir    string // with volumes/, files/ and state/
	config plugin.Config
}

// rigConfig is what differs between rigs.
type rigConfig struct {
	sources []imagesource.Source
	bounds  lru.Bounds
	change  func(*plugin.Config) // nil: nothing
}

// newRig opens a plugin below dir until the test ends.
func newRig(t *testing.T, dir string, c rigConfig) *rig {
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
	config := plugin.Config{
		StateDir:   filepath.Join(dir, "state"),
		Backends:   []plugin.BackendConfig{{Name: "local", Backend: backend, Bounds: c.bounds, Fallback: "files"}},
		FileCaches: []plugin.FileCacheConfig{{Name: "files", Cache: files}},
		Sources:    c.sources,
	}
	if c.change != nil {
		c.change(&config)
	}
	r := &rig{dir: dir, config: config}
	if r.Plugin, err = plugin.Open(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// restart closes the plugin, and opens it again after between.
func (r *rig) restart(t *testing.T, between func()) {
	t.Helper()
	err := r.Close(t.Context())
	if err == nil {
		between()
		r.Plugin, err = plugin.Open(t.Context(), r.config)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// mountXFS mounts an XFS for the rigs of a test.
func mountXFS(t *testing.T) string {
	t.Helper()
	needMounts(t)
	return fstest.Mount(t, fstest.XFS, 512*mib)
}

func (r *rig) request(t *testing.T, image, volume string) (plugin.Answer, error) {
	t.Helper()
	return r.CreateVolume(t.Context(), plugin.Request{Image: image, Volume: backends.VolumeName(volume)})
}

// refused checks that a request ends with an error of this code, whose sentence is for people, and that
// nothing is left of it.
func (r *rig) refused(t *testing.T, image, code string) {
	t.Helper()
	before := r.files(t)
	a, err := r.request(t, image, "v")
	if err == nil {
		t.Fatalf("%s: got outcome %s (%s: %s), want the error %s", image, a.Outcome, a.Reason, a.Detail, code)
	}
	told := api.Explain(err)
	if told.Code != code {
		t.Errorf("%s: got code %s (%v), want %s", image, told.Code, err, code)
	}
	meaningful(t, told.Message)
	if !strings.Contains(err.Error(), image) {
		t.Errorf("the operator's error does not name the image: %v", err)
	}
	if after := r.files(t); after != before {
		t.Errorf("left on disk:\n%s\nbefore it was:\n%s", after, before)
	}
	r.idle(t)
}

// served checks that a volume is made, with the content.
func (r *rig) served(t *testing.T, image, volume string, content []byte) plugin.Answer {
	t.Helper()
	a, err := r.request(t, image, volume)
	if err != nil {
		t.Fatalf("%s: %v", image, err)
	}
	if a.Outcome == plugin.Bypassed {
		t.Fatalf("%s: bypassed, %s: %s", image, a.Reason, a.Detail)
	}
	got, err := os.ReadFile(a.Path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(content) {
		t.Errorf("%s: the volume's %d bytes are not the image's %d", image, len(got), len(content))
	}
	r.idle(t)
	return a
}

// idle checks what holds whenever nothing is asked: no fill in flight, the quota is what exists, a deep
// check finds nothing, and no file without a name is held.
func (r *rig) idle(t *testing.T) {
	t.Helper()
	if fills := r.Fills(); len(fills) > 0 {
		t.Errorf("fills in flight: %+v", fills)
	}
	q, err := r.Quota(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v := q.Volumes; v.InUse != v.Actual || v.Reserved != 0 {
		t.Errorf("quota of volumes: in use %d, actual %d, reserved %d", v.InUse, v.Actual, v.Reserved)
	}
	c, err := r.Check(t.Context(), plugin.CheckOptions{Deep: true})
	if err != nil || !c.OK {
		t.Errorf("check: %+v, %v", c.Problems, err)
	}
	if held := unnamed(t, os.Getpid(), r.dir); len(held) > 0 {
		t.Errorf("files without a name that are still held: %q", held)
	}
}

// files lists what lies in backend, file cache and scratch.
func (r *rig) files(t *testing.T) string {
	t.Helper()
	return listing(t, filepath.Join(r.dir, "volumes"), filepath.Join(r.dir, "files"), filepath.Join(r.dir, "state", "scratch"))
}

func listing(t *testing.T, dirs ...string) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range dirs {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			continue
		}
		for _, f := range harness.Files(t, dir) {
			fmt.Fprintf(&b, "%s %d %d\n", f.Path, f.Size, f.Bytes)
		}
	}
	return b.String()
}

// unnamed are the files below dir that a process holds open though they have no name.
func unnamed(t *testing.T, pid int, dir string) []string {
	t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, fd := range open {
		target, err := os.Readlink(filepath.Join(fds, fd.Name()))
		if err == nil && strings.HasPrefix(target, dir) && strings.HasSuffix(target, " (deleted)") {
			held = append(held, target)
		}
	}
	return held
}

// meaningful checks that a sentence says something to a person.
func meaningful(t *testing.T, sentence string) {
	t.Helper()
	if len(strings.Fields(sentence)) < 5 || strings.Contains(sentence, "something went wrong") {
		t.Errorf("this tells a person nothing: %q", sentence)
	}
}
