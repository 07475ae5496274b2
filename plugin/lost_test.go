package plugin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// cut makes the file of an image-volume shorter behind everybody's back.
func (r *rig) cut(t *testing.T, imageVolume string) {
	t.Helper()
	if err := os.Truncate(filepath.Join(r.dir, "volumes", ".clonecache", "image-volumes", imageVolume), mib); err != nil {
		t.Fatal(err)
	}
}

func TestAnImageVolumeThatWasCutIsCachedAnew(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	content := r.image(t, "disk.raw", 8*mib)
	r.create(t, "library:disk.raw", "v1", 0)
	r.cut(t, r.wantEntries(t, 1)[0].ImageVolume)
	a := r.create(t, "library:disk.raw", "v2", 16*mib)
	if a.Outcome != plugin.Filled {
		t.Errorf("got %+v, want filled", a)
	}
	r.holds(t, a, content)
	checkClean(t, r)
}

func TestACheckDropsAnImageVolumeThatWasCut(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	r.image(t, "disk.raw", 8*mib)
	r.create(t, "library:disk.raw", "v1", 0)
	r.cut(t, r.wantEntries(t, 1)[0].ImageVolume)
	r.wantProblem(t, plugin.CheckOptions{}, "missing-image-volume", "the file has 1048576 bytes")
	r.wantProblem(t, plugin.CheckOptions{Repair: true}, "missing-image-volume", "the file has 1048576 bytes")
	r.wantEntries(t, 0)
	r.wantHeld(t, 0)
	checkClean(t, r)
}

func TestAStrayFileAmongImageVolumesStays(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{})
	junk := filepath.Join(r.dir, "volumes", ".clonecache", "image-volumes", "junk")
	if err := os.WriteFile(junk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Clean(t.Context()); err != nil {
		t.Errorf("clean: %v", err)
	}
	got, err := r.Check(t.Context(), plugin.CheckOptions{Repair: true})
	if err != nil || len(got.Problems) != 1 || got.Problems[0].Repaired || !strings.Contains(got.Problems[0].Detail, junk) {
		t.Errorf("check: got %+v, %v, want one problem that names %s", got, err, junk)
	}
	if _, err := os.Stat(junk); err != nil {
		t.Error(err)
	}
}
