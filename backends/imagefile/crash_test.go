package imagefile

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rawfile"
)

// An image-volume that a crash left under its name and under the staged one is committed.
func TestASecondNameInStagingIsDropped(t *testing.T) {
	base := t.TempDir()
	c := Config{Dir: filepath.Join(base, "images"), Staging: filepath.Join(base, "staging"), Now: time.Now}
	c.Stamps.Side = filepath.Join(base, "stamps")
	for _, dir := range []string{c.Dir, c.Staging, c.Stamps.Side} {
		must(t, os.Mkdir(dir, 0o700))
	}
	features, err := rawfile.Probe(base)
	must(t, err)
	features.Unnamed = false
	c.Features, c.Stamps.Xattrs = features, features.Xattrs
	s, err := Open(c)
	must(t, err)
	commit(t, s, "e-1")
	_, err = s.Stage(t.Context(), backends.StageSpec{ID: "e-2", VirtualBytes: 4096})
	must(t, err)
	// The process dies here; nobody closes the store.
	must(t, os.Link(filepath.Join(c.Dir, "e-1"), filepath.Join(c.Staging, "e-1")))

	again, err := Open(c)
	must(t, err)
	defer again.Close()
	got := map[backends.ImageVolumeID]backends.ImageVolumeState{}
	for v, err := range again.List(t.Context()) {
		must(t, err)
		got[v.ID] = v.State
	}
	if len(got) != 2 || got["e-1"] != backends.Committed || got["e-2"] != backends.Staged {
		t.Errorf("got %v, want e-1 committed, e-2 staged", got)
	}
	left, err := os.ReadDir(c.Staging)
	if err != nil || len(left) != 1 {
		t.Errorf("staging: got %v, %v, want e-2 alone", left, err)
	}
}
