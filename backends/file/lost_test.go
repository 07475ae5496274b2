package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

// An image-volume whose file somebody has cut, or made longer, is not cloned from, whether its file is
// still open from the last clone or not. It is reported, and can be removed.
func TestAnImageVolumeOfAnotherSizeIsLost(t *testing.T) {
	on(t, func(t *testing.T, fs filesystem, dir string) {
		for name, size := range map[string]int64{"cut": 4096, "longer": 2 << 20} {
			for _, warm := range []bool{false, true} {
				t.Run(name, func(t *testing.T) {
					path := fresh(t, dir)
					b := fs.open(t, path)
					commit(t, b, "e-1")
					if warm && fs.clones {
						_, err := b.Clone(t.Context(), "e-1", volumeSpec("before"))
						must(t, err)
					}
					must(t, os.Truncate(filepath.Join(path, ".clonecache", "image-volumes", "e-1"), size))
					wantLost(t, fs, b)
				})
			}
		}
	})
}

// wantLost wants e-1 to be of no use any more but to be removed.
func wantLost(t *testing.T, fs filesystem, b backends.Backend) {
	t.Helper()
	spec := volumeSpec("after")
	spec.SizeBytes = 4 << 20
	if _, err := b.Clone(t.Context(), "e-1", spec); fs.clones && !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("clone: got error %v, want %v", err, backends.ErrNotExist)
	}
	if _, err := b.StatVolume(t.Context(), "after"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("the volume: got error %v, want %v", err, backends.ErrNotExist)
	}
	if _, err := b.(backends.ImageVolumeReader).OpenImageVolume(t.Context(), "e-1"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("open: got error %v, want %v", err, backends.ErrNotExist)
	}
	var listed []backends.ImageVolumeID
	for v, err := range b.ListImageVolumes(t.Context()) {
		listed = append(listed, v.ID)
		if !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("listing: got error %v, want %v", err, backends.ErrNotExist)
		}
	}
	if len(listed) != 1 || listed[0] != "e-1" {
		t.Errorf("listed: got %q, want e-1", listed)
	}
	if r, err := b.Retire(t.Context(), "e-1"); err != nil || !r.Gone {
		t.Errorf("retire: got %+v, %v", r, err)
	}
}
