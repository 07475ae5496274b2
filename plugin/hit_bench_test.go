package plugin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// BenchmarkHit compares a hit with the bare floor that it needs on the same filesystem, in one run: a
// FICLONE of the same source, and an fsync.
func BenchmarkHit(b *testing.B) {
	dir := fstest.Mount(b, fstest.XFS, 1024*mib)
	r := newRig(b, dir, lru.Bounds{})
	r.image(b, "disk.raw", 64*mib)
	if _, err := r.CreateVolume(b.Context(), plugin.Request{Image: "library:disk.raw", Volume: "first"}); err != nil {
		b.Fatal(err)
	}
	entries, err := r.Entries(b.Context(), plugin.EntryFilter{})
	if err != nil {
		b.Fatal(err)
	}
	source := filepath.Join(dir, "volumes", ".clonecache", "image-volumes", entries[0].ImageVolume)
	var made int
	for _, workers := range []int{1, 8} {
		b.Run(fmt.Sprintf("floor/%d", workers), func(b *testing.B) {
			made++
			spread(b, workers, func(n int) error { return reflink(source, filepath.Join(dir, fmt.Sprintf("floor-%d-%d", made, n))) })
		})
		b.Run(fmt.Sprintf("hit/%d", workers), func(b *testing.B) {
			made++
			spread(b, workers, func(n int) error {
				_, err := r.CreateVolume(b.Context(), plugin.Request{Image: "library:disk.raw", Volume: backends.VolumeName(fmt.Sprintf("v-%d-%d", made, n))})
				return err
			})
		})
	}
}

// spread calls do for each of b.N numbers, by several workers at once.
func spread(b *testing.B, workers int, do func(n int) error) {
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range numbers {
				if err := do(n); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for n := range b.N {
		numbers <- n
	}
	close(numbers)
	wg.Wait()
}

func reflink(source, name string) error {
	src, err := os.Open(source)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		return err
	}
	return dst.Sync()
}
