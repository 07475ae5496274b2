package imagesource

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file in many pieces may be closed while it is read: the race detector tells whether the reader lets go of it.
func TestDirectoryReadEndsWithItsClose(t *testing.T) {
	d, dir := library(t, nil)
	pieces(t, filepath.Join(dir, "image.raw"), 64)
	image, err := d.Stat(t.Context(), "image.raw")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		body, err := d.Open(t.Context(), image)
		if err != nil {
			t.Fatal(err)
		}
		begun, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			buffer := make([]byte, 4<<10)
			_, err := body.Read(buffer)
			for close(begun); err == nil; {
				_, err = body.Read(buffer)
			}
			ended <- err
		}()
		<-begun
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if !errors.Is(err, os.ErrClosed) && !errors.Is(err, io.EOF) {
				t.Fatalf("a read of a closed file: %v, want that it is closed, or its end", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a read of a closed file goes on")
		}
	}
}

// pieces makes a file of n pieces of data, each with a hole behind it.
func pieces(t *testing.T, path string, n int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := f.WriteAt([]byte("data"), int64(i)<<17); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(int64(n)<<17), f.Close()); err != nil {
		t.Fatal(err)
	}
}
