package fstest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
)

var sizes = map[fstest.Kind]int64{
	fstest.XFS: fstest.MinXFS, fstest.Btrfs: fstest.MinBtrfs, fstest.Ext4: fstest.MinExt4,
}

func TestMount(t *testing.T) {
	for kind, size := range sizes {
		t.Run(string(kind), func(t *testing.T) {
			path := filepath.Join(fstest.Mount(t, kind, size), "f")
			if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := fstest.Extents(t, path); got != 1 {
				t.Errorf("got %d extents, want 1", got)
			}
		})
	}
}

// The power cut must lose what was not synced, else tests of durability prove nothing.
func TestDiskHoldsOnlyWhatWasSynced(t *testing.T) {
	for kind, size := range sizes {
		t.Run(string(kind), func(t *testing.T) {
			fs := fstest.New(t, kind, size)
			write(t, filepath.Join(fs.Dir, "synced")).sync(t)
			write(t, filepath.Join(fs.Dir, "unsynced"))
			fs.Boot(t, fs.Disk(t))
			if _, err := os.Stat(filepath.Join(fs.Dir, "synced")); err != nil {
				t.Errorf("what was synced is lost: %v", err)
			}
			if got, err := os.ReadFile(filepath.Join(fs.Dir, "unsynced")); err == nil && len(got) > 0 {
				t.Errorf("what was not synced is there: %d bytes", len(got))
			}
		})
	}
}

type written string

func write(t *testing.T, path string) written {
	t.Helper()
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	return written(path)
}

func (w written) sync(t *testing.T) {
	t.Helper()
	for _, path := range []string{string(w), filepath.Dir(string(w))} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
}
