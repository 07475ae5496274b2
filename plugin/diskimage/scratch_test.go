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

func TestDirScratchIsBoundedInSum(t *testing.T) {
	s, err := diskimage.NewDirScratch(t.TempDir(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var files [2]diskimage.ScratchFile
	for i := range files {
		if files[i], err = s.File(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := files[0].WriteAt(make([]byte, 600), 1<<30); err != nil {
		t.Error(err)
	}
	if _, err := files[1].WriteAt(make([]byte, 401), 0); !errors.Is(err, diskimage.ErrScratchFull) {
		t.Errorf("got %v, want ErrScratchFull", err)
	}
	if err := errors.Join(files[0].Close(), files[0].Close()); err != nil {
		t.Error(err)
	}
	if _, err := files[0].WriteAt(nil, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after Close: got %v", err)
	}
	if _, err := files[1].WriteAt(bytes.Repeat([]byte{7}, 1000), 0); err != nil {
		t.Error(err)
	}
	got := make([]byte, 1000)
	if _, err := files[1].ReadAt(got, 0); err != nil || got[999] != 7 {
		t.Errorf("read %v, %v", got[999], err)
	}
	if err := files[1].Close(); err != nil {
		t.Error(err)
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
