package file_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
)

// used is what a filesystem has given out or promised.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize
}

// However little is written at a time, and however far apart, the filesystem gives out no more than the
// stage says, nor does it promise more while it waits to write.
func TestAStageHoldsNoMoreThanItSays(t *testing.T) {
	for name, w := range map[string]struct {
		n    int
		step int64
		many int
	}{
		"512 bytes every 16 KiB": {512, 16 << 10, 6000},
		"512 bytes in a row":     {512, 512, 20000},
		"64 KiB every 16 MiB":    {64 << 10, 16 << 20, 300},
		"1 MiB in a row":         {1 << 20, 1 << 20, 100},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fstest.Mount(t, fstest.XFS, 512<<20)
			b, err := file.Open(t.Context(), file.Config{Name: "local", Path: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			fstest.Sync(t, dir)
			before := used(t, dir)
			st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: w.step * int64(w.many)})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Discard(t.Context())
			data := make([]byte, w.n)
			for i := range data {
				data[i] = byte(i) | 1
			}
			for i := range w.many {
				if _, err := st.WriteAt(data, int64(i)*w.step); err != nil {
					t.Fatal(err)
				}
				if i%100 == 0 || i == w.many-1 {
					if got, says := used(t, dir)-before, st.HeldBytes(); got > says+64<<10 { // the file itself
						t.Fatalf("after %d writes %d KiB are used, the stage says %d KiB", i+1, got>>10, says>>10)
					}
				}
			}
			t.Logf("used %d KiB, says %d KiB", (used(t, dir)-before)>>10, st.HeldBytes()>>10)
		})
	}
}
