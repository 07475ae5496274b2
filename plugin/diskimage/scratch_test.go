package diskimage_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

func TestDirScratchEmptiesWhatItOwns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if _, err := diskimage.NewDirScratch(dir, 10); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"clonecache-scratch-123", "somebody's"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := diskimage.NewDirScratch(dir, 10); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "somebody's" {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := diskimage.NewDirScratch(dir, 0); err == nil {
		t.Error("a bound of 0 was taken")
	}
}

const block = 4096

func TestDirScratchIsBoundedInSum(t *testing.T) {
	s, err := diskimage.NewDirScratch(t.TempDir(), 1000*block)
	if err != nil {
		t.Fatal(err)
	}
	var files [2]diskimage.ScratchFile
	for i := range files {
		if files[i], err = s.File(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := files[0].WriteAt(make([]byte, 600*block), 1<<30); err != nil {
		t.Error(err)
	}
	if _, err := files[1].WriteAt(make([]byte, 401*block), 0); !errors.Is(err, diskimage.ErrScratchFull) {
		t.Errorf("got %v, want ErrScratchFull", err)
	}
	if err := errors.Join(files[0].Close(), files[0].Close()); err != nil {
		t.Error(err)
	}
	if _, err := files[0].WriteAt(nil, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after Close: got %v", err)
	}
	if _, err := files[1].WriteAt(bytes.Repeat([]byte{7}, 1000*block), 0); err != nil {
		t.Error(err)
	}
	got := make([]byte, 1000*block)
	if _, err := files[1].ReadAt(got, 0); err != nil || got[1000*block-1] != 7 {
		t.Errorf("read %v, %v", got[1000*block-1], err)
	}
	if err := files[1].Close(); err != nil {
		t.Error(err)
	}
}

// A byte here and there takes a block each: that is what the disk is bounded in.
func TestDirScratchCountsWhatTheDiskGives(t *testing.T) {
	for _, c := range []struct {
		name       string
		size, step int64 // of writes, and from one to the next
		most       int64 // so many are taken
	}{
		{"a byte in each block", 1, block, 64},
		{"across the end of every other block", 2, 2 * block, 32},
		{"one behind the other", 512, 512, 64 * block / 512},
		{"whole blocks", block, block, 64},
		{"pieces that begin in the middle", 16 * block, 16 * block, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := diskimage.NewDirScratch(t.TempDir(), 64*block)
			if err != nil {
				t.Fatal(err)
			}
			f, err := s.File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			taken := int64(0)
			for ; err == nil; taken++ {
				_, err = f.WriteAt(bytes.Repeat([]byte{1}, int(c.size)), taken*c.step+c.step-1)
			}
			if taken--; !errors.Is(err, diskimage.ErrScratchFull) || taken > c.most || taken < c.most-1 {
				t.Errorf("%d writes were taken, then %v; want %d", taken, err, c.most)
			}
		})
	}
}

func TestDirScratchFromManyGoroutines(t *testing.T) {
	s, err := diskimage.NewDirScratch(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			f, err := s.File()
			if err != nil {
				t.Error(err)
				return
			}
			for i := range int64(16) {
				if _, err := f.WriteAt(make([]byte, 4096), i*4096); err != nil {
					t.Error(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Errorf("not all is free again: %v", err)
	}
}
