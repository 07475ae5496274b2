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

// leave takes space away until no more than about bytes are left: it sets them aside, takes all else, and
// gives them back. (What statfs calls free is not all to be had: ext4 keeps some for itself.)
func (b *ballast) leave(tb testing.TB, bytes int64) {
	tb.Helper()
	b.sync(tb)
	aside := 0
	if bytes > 0 {
		if err := b.take(bytes); err != nil {
			tb.Fatal(err)
		}
		aside = b.n
	}
	for piece := int64(64 * mib); piece >= 4*kib; {
		if b.take(piece) != nil {
			piece /= 2
		}
	}
	if aside > 0 {
		b.remove(tb, aside)
	}
	b.sync(tb)
}

// sync makes promised space be given out, and freed space be free.
func (b *ballast) sync(tb testing.TB) {
	tb.Helper()
	fd, err := os.Open(b.dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer fd.Close()
	if err := unix.Syncfs(int(fd.Fd())); err != nil {
		tb.Fatal(err)
	}
}

// take allocates bytes in a file of their own.
func (b *ballast) take(bytes int64) error {
	b.n++
	path := b.path(b.n)
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
		b.remove(tb, n+1)
	}
	b.n = 0
	b.sync(tb)
}

func (b *ballast) remove(tb testing.TB, n int) {
	tb.Helper()
	if err := os.Remove(b.path(n)); err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
}

func (b *ballast) path(n int) string { return filepath.Join(b.dir, fmt.Sprintf(".ballast-%d", n)) }
