package file_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/backends/file"
)

// BenchmarkClone compares Clone with the floor on the same filesystem: open with O_EXCL, FICLONE,
// fsync, close. The two take turns, so that a busy machine slows both; what is reported is the medians
// of the turns. TMPDIR says on which disk.
func BenchmarkClone(b *testing.B) {
	for _, kind := range []fstest.Kind{fstest.XFS, fstest.Btrfs} {
		for _, workers := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/workers=%d", kind, workers), func(b *testing.B) {
				dir := fstest.Mount(b, kind, 8<<30)
				be := open(b, dir)
				v := stageConcurrently(b, be, "e-1", 64<<20)
				bare, ours := turns{work: floor(b, be, v, dir)}, turns{work: cloning(b, be, v)}
				b.ResetTimer()
				for b.Loop() {
					bare.take(b, workers)
					ours.take(b, workers)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(bare.median(), "floor-µs")
				b.ReportMetric(ours.median(), "clone-µs")
				b.ReportMetric(bare.median()/ours.median(), "rate/floor")
			})
		}
	}
}

// turns is the times of one of two that take turns.
type turns struct {
	work func(name string) error
	made atomic.Int64
	took []float64 // µs a clone, per turn
}

const clonesPerTurn = 16

func (t *turns) take(b *testing.B, workers int) {
	began := time.Now()
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for range clonesPerTurn / workers {
				if err := t.work(fmt.Sprint("v", t.made.Add(1))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	running.Wait()
	t.took = append(t.took, float64(time.Since(began).Nanoseconds())/1000/clonesPerTurn)
}

func (t *turns) median() float64 {
	slices.Sort(t.took)
	return t.took[len(t.took)/2]
}

func cloning(b *testing.B, be *file.Backend, v backends.ImageVolume) func(string) error {
	return func(name string) error {
		_, err := be.Clone(b.Context(), v.ID, backends.VolumeSpec{
			Name: backends.VolumeName(name), SizeBytes: 128 << 20, Token: "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2c",
			Origin: backends.Origin{
				EntryID: "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2a", ImageID: "library:debian-12.qcow2", Store: "local",
				ImageVolume: "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2a-1",
				ContentKey:  "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/qcow2",
			},
		})
		return err
	}
}

func floor(b *testing.B, be *file.Backend, v backends.ImageVolume, dir string) func(string) error {
	src, _, err := be.OpenImage(b.Context(), v.ID)
	must(b, err)
	b.Cleanup(func() { _ = src.Close() })
	return func(name string) error {
		f, err := os.OpenFile(filepath.Join(dir, "floor-"+name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o660)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.IoctlFileClone(int(f.Fd()), int(src.Fd())); err != nil {
			return err
		}
		return f.Sync()
	}
}
