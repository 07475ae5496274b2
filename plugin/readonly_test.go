package plugin_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// What was being evicted when the filesystem turned read-only is gone a minute after it can be written again,
// without a restart, and its image is cached anew meanwhile or then.
func TestEvictionsEndOnceTheFilesystemCanBeWritten(t *testing.T) {
	fs := fstest.New(t, fstest.XFS, 320*mib)
	volumes := filepath.Join(fs.Dir, "volumes")
	if err := os.Mkdir(volumes, 0o755); err != nil {
		t.Fatal(err)
	}
	backend, err := file.Open(t.Context(), file.Config{Name: "local", Path: volumes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { backend.Close() })
	r := newRig(t, t.TempDir(), lru.Bounds{MaxCount: 2}, withBackend(backend))
	for _, image := range []string{"a.raw", "b.raw", "c.raw"} {
		r.image(t, image, mib)
	}
	r.create(t, "library:a.raw", "v-a", 0)
	r.create(t, "library:b.raw", "v-b", 0)
	first := r.entry(t, "library:a.raw")
	fs.Remount(t, "ro")
	if _, err := r.DeleteEntry(t.Context(), first.ID, false); err == nil {
		t.Error("an entry of a read-only filesystem was deleted")
	}
	if got := r.state(t, first.ID); got != "evicting" {
		t.Errorf("meanwhile it is %s", got)
	}
	r.Tidy(t.Context())
	if got := r.state(t, first.ID); got != "evicting" {
		t.Errorf("a minute later it is %s", got)
	}
	fs.Remount(t, "rw")
	r.Tidy(t.Context())
	if got := r.state(t, first.ID); got != "" {
		t.Errorf("once the filesystem can be written it is %s, want it gone", got)
	}
	for _, name := range []string{"v-a2", "v-c"} {
		if a := r.create(t, map[string]string{"v-a2": "library:a.raw", "v-c": "library:c.raw"}[name], name, 0); a.Outcome != plugin.Filled {
			t.Errorf("%s: got %+v, want it filled", name, a)
		}
	}
	checkClean(t, r)
}

// entry is that of an image.
func (r *rig) entry(t *testing.T, image string) plugin.EntryView {
	t.Helper()
	all, err := r.Entries(t.Context(), plugin.EntryFilter{State: "all"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if len(e.ImageIDs) > 0 && e.ImageIDs[0] == image {
			return e
		}
	}
	t.Fatalf("no entry of %s", image)
	return plugin.EntryView{}
}

// state is that of an entry; "": there is none.
func (r *rig) state(t *testing.T, id string) string {
	t.Helper()
	all, err := r.Entries(t.Context(), plugin.EntryFilter{State: "all"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.ID == id {
			return string(e.State)
		}
	}
	return ""
}
