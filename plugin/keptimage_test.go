package plugin_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin"
)

// connected are the two ends of a connection, which reads files by itself.
func connected(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if theirs, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if ours, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

// Whose fault it is that a file does not get over a connection decides who goes on: the source, or nobody.
func TestWhoseFaultABrokenCopyIs(t *testing.T) {
	const size = 64 << 20
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		flag int
		left bool // the reader has gone
	}{
		{"the file cannot be read", os.O_WRONLY, false},
		{"the reader has gone", os.O_RDONLY, true},
	} {
		f, err := os.OpenFile(path, tt.flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := connected(t)
		if tt.left {
			_ = theirs.Close()
		} else {
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
		}
		_, err = plugin.KeptFile(f).Copy(t.Context(), ours, 0, size)
		if err == nil || errors.Is(err, plugin.ErrPart) == tt.left {
			t.Errorf("%s: got %v", tt.name, err)
		}
		_ = f.Close()
	}
}
