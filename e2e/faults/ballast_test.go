package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// ballast is a file that takes a filesystem's space away.
type ballast struct {
	dir string
	n   int
}

// free is how many bytes a filesystem can still give out, to root.
func free(tb testing.TB, dir string) int64 {
	tb.Helper()
	fd, err := os.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer fd.Close()
	unix.Syncfs(int(fd.Fd())) // promised space counts once it is given out
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(fd.Fd()), &st); err != nil {
		tb.Fatal(err)
	}
	return int64(st.Bfree) * st.Bsize
}

// leave takes space away until no more than about bytes are left.
func (b *ballast) leave(tb testing.TB, bytes int64) {
	tb.Helper()
	for piece := int64(64 * mib); piece >= 4*kib; {
		left := free(tb, b.dir)
		if left <= bytes {
			return
		}
		piece = min(piece, left-bytes)
		piece -= piece % (4 * kib)
		if piece == 0 || b.take(piece) != nil {
			piece = min(piece, 64*mib) / 2
		}
	}
}

// take allocates bytes in a file of their own.
func (b *ballast) take(bytes int64) error {
	b.n++
	path := filepath.Join(b.dir, fmt.Sprintf(".ballast-%d", b.n))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, bytes); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

// drop gives the space back.
func (b *ballast) drop(tb testing.TB) {
	tb.Helper()
	for n := range b.n {
		if err := os.Remove(filepath.Join(b.dir, fmt.Sprintf(".ballast-%d", n+1))); err != nil && !os.IsNotExist(err) {
			tb.Fatal(err)
		}
	}
	free(tb, b.dir)
}
