package smallfile_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/plugin/smallfile"
)

func TestRead(t *testing.T) {
	dir, err := os.MkdirTemp("", "cc-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("good"), make([]byte, smallfile.Most))
	write(t, in("large"), make([]byte, smallfile.Most+1))
	if err := os.Symlink("good", in("link")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", in("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"a file", in("good"), nil},
		{"a link to one", in("link"), nil},
		{"one byte more", in("large"), smallfile.ErrNotSmall},
		{"a directory", dir, smallfile.ErrNotSmall},
		{"a device without end", "/dev/zero", smallfile.ErrNotSmall},
		{"a socket", in("socket"), smallfile.ErrNotSmall},
		{"nothing", in("none"), fs.ErrNotExist},
		{"no name", "", fs.ErrNotExist},
	} {
		content, err := smallfile.Read(c.path)
		if !errors.Is(err, c.want) || (c.want == nil) != (len(content) == smallfile.Most) {
			t.Errorf("%s: got %d bytes, %v, want %v", c.name, len(content), err, c.want)
		}
	}
}

// A shell's <(command) is a pipe.
func TestReadOfAPipe(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(fifo, []byte("text"), 0o600) }()
	content, err := smallfile.Read(fifo)
	if string(content) != "text" || err != nil {
		t.Errorf("got %q, %v", content, err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
