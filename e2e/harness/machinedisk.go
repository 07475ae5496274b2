package harness

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// MachineDisk writes a raw disk of size bytes that holds data bytes of this machine's files (those of
// /usr), a hole after every 64 MiB: content that compresses as real disks do.
func MachineDisk(tb testing.TB, path string, size, data int64) {
	tb.Helper()
	out, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer out.Close()
	if err := out.Truncate(size); err != nil {
		tb.Fatal(err)
	}
	disk := &holed{file: out, wanted: data}
	err = filepath.WalkDir("/usr", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // what cannot be read is no loss
		}
		in, err := os.Open(name)
		if err != nil {
			return nil
		}
		defer in.Close()
		if _, err := io.Copy(disk, in); err != nil {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	if disk.data < data {
		tb.Logf("only %d MiB of files in /usr", disk.data/MiB)
	}
}

// holed writes data in pieces of 64 MiB with holes between them, until it has as much as is wanted.
type holed struct {
	file   *os.File
	offset int64
	data   int64
	wanted int64
}

// Write implements io.Writer; io.ErrShortWrite: it has enough.
func (h *holed) Write(p []byte) (int, error) {
	const piece, hole = 64 * MiB, 32 * MiB
	if h.data >= h.wanted {
		return 0, io.ErrShortWrite
	}
	n, err := h.file.WriteAt(p, h.offset)
	before := h.data / piece
	h.offset, h.data = h.offset+int64(n), h.data+int64(n)
	if h.data/piece > before {
		h.offset = (h.offset+hole)/MiB*MiB + MiB
	}
	return n, err
}
