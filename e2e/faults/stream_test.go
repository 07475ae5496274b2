package faults

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// memory is a source of one image, disk.raw or disk.qcow2, whose streams a test spoils.
type memory struct {
	content []byte
	name    string

	mu    sync.Mutex
	size  int64                                   // that Stat claims
	spoil func(content []byte) (stream io.Reader) // nil: all is well
}

func (m *memory) Name() string { return "memory" }

func (m *memory) Stat(_ context.Context, id string) (imagesource.Image, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id != m.name {
		return imagesource.Image{}, imagesource.ErrNotFound
	}
	return imagesource.Image{Source: "memory", ID: id, Revision: "1", SizeBytes: m.size,
		DiskFormat: filepath.Ext(m.name)[1:]}, nil
}

func (m *memory) Open(context.Context, imagesource.Image) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.spoil == nil {
		return io.NopCloser(bytes.NewReader(m.content)), nil
	}
	return io.NopCloser(m.spoil(m.content)), nil
}

// set makes the source lie about the size, and spoils its streams.
func (m *memory) set(size int64, spoil func([]byte) io.Reader) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size, m.spoil = size, spoil
}

// errDisk is what a broken disk answers.
var errDisk = &os.PathError{Op: "read", Path: "/images/disk", Err: syscall.EIO}

func failing(at int, err error) func([]byte) io.Reader {
	return func(content []byte) io.Reader {
		return io.MultiReader(bytes.NewReader(content[:at]), iotest.ErrReader(err))
	}
}

func cut(at int) func([]byte) io.Reader {
	return func(content []byte) io.Reader { return bytes.NewReader(content[:at]) }
}

func more(content []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(content), bytes.NewReader(make([]byte, 100)))
}

// diskBytes is the size of the images here.
const diskBytes = 2 * mib

// spoiled are streams that fail, each with the code that the requester is told for a raw image and for a
// qcow2 one.
var spoiled = []struct {
	name       string
	claims     int64 // a lie about the size, in bytes beside the true one
	spoil      func(size int) func([]byte) io.Reader
	raw, qcow2 string
}{
	{name: "a read error at once", spoil: func(int) func([]byte) io.Reader { return failing(0, errDisk) },
		raw: "image_source_unavailable", qcow2: "image_source_unavailable"},
	{name: "a read error in the header", spoil: func(int) func([]byte) io.Reader { return failing(40, errDisk) },
		raw: "image_source_unavailable", qcow2: "image_source_unavailable"},
	{name: "a read error in the middle", spoil: func(size int) func([]byte) io.Reader { return failing(size/2, errDisk) },
		raw: "image_source_unavailable", qcow2: "image_source_unavailable"},
	{name: "a read error before the last byte", spoil: func(size int) func([]byte) io.Reader { return failing(size-1, errDisk) },
		raw: "image_source_unavailable", qcow2: "image_source_unavailable"},
	{name: "an end in the middle", spoil: func(size int) func([]byte) io.Reader { return cut(size / 2) },
		raw: "image_truncated", qcow2: "image_truncated"},
	{name: "an end before the last byte", spoil: func(size int) func([]byte) io.Reader { return cut(size - 1) },
		raw: "image_truncated", qcow2: "image_truncated"},
	{name: "an end before the first byte", spoil: func(int) func([]byte) io.Reader { return cut(0) },
		raw: "image_truncated", qcow2: "image_truncated"},
	{name: "more than announced", spoil: func(int) func([]byte) io.Reader { return more },
		raw: "image_longer", qcow2: "image_longer"},
	{name: "a size that is too small", claims: -512, raw: "image_longer", qcow2: "image_longer"},
	{name: "a size that is too large", claims: 512, raw: "image_truncated", qcow2: "image_truncated"},
	{name: "a change noticed in the middle",
		spoil: func(size int) func([]byte) io.Reader { return failing(size/2, imagesource.ErrChanged) },
		raw:   "image_changed", qcow2: "image_changed"},
	{name: "a reader that returns nothing for ever",
		spoil: func(size int) func([]byte) io.Reader { return failing(size/2, io.ErrNoProgress) },
		raw:   "image_source_unavailable", qcow2: "image_source_unavailable"},
}

// A source whose stream fails, ends early or goes on too long gets its error through to the requester;
// nothing is cached and nothing is left, and once the source is well the same request succeeds.
func TestASpoiledStream(t *testing.T) {
	mount := mountXFS(t)
	for _, format := range []string{"raw", "qcow2"} {
		disk, image := makeImage(t, format)
		for _, s := range spoiled {
			t.Run(format+"/"+s.name, func(t *testing.T) {
				source := &memory{content: image, name: "disk." + format}
				r := newRig(t, filepath.Join(mount, t.Name()), rigConfig{sources: []imagesource.Source{source}})
				code := s.raw
				if format == "qcow2" {
					code = s.qcow2
				}
				var spoil func([]byte) io.Reader
				if s.spoil != nil {
					spoil = s.spoil(len(image))
				}
				source.set(int64(len(image))+s.claims, spoil)
				r.refused(t, "memory:disk."+format, code)
				source.set(int64(len(image)), nil)
				r.served(t, "memory:disk."+format, "v", disk)
			})
		}
	}
}

// Streams that are odd and right are read like any other.
func TestAnOddStream(t *testing.T) {
	mount := mountXFS(t)
	odd := map[string]func([]byte) io.Reader{
		"one byte at a time":    func(c []byte) io.Reader { return iotest.OneByteReader(bytes.NewReader(c)) },
		"half of what is asked": func(c []byte) io.Reader { return iotest.HalfReader(bytes.NewReader(c)) },
		"the end with the data": func(c []byte) io.Reader { return iotest.DataErrReader(bytes.NewReader(c)) },
		"nothing now and then":  func(c []byte) io.Reader { return &hesitant{Reader: bytes.NewReader(c)} },
		"the size is not known": func(c []byte) io.Reader { return bytes.NewReader(c) },
	}
	for _, format := range []string{"raw", "qcow2"} {
		disk, image := makeImage(t, format)
		for name, spoil := range odd {
			t.Run(format+"/"+name, func(t *testing.T) {
				source := &memory{content: image, name: "disk." + format}
				source.set(int64(len(image)), spoil)
				if name == "the size is not known" {
					source.set(-1, spoil)
				}
				r := newRig(t, filepath.Join(mount, t.Name()), rigConfig{sources: []imagesource.Source{source}})
				r.served(t, "memory:disk."+format, "v", disk)
			})
		}
	}
}

// hesitant returns nothing every other time.
type hesitant struct {
	io.Reader
	turn int
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.turn++; h.turn%2 == 1 {
		return 0, nil
	}
	return h.Reader.Read(p)
}

// makeImage returns a disk and an image of it.
func makeImage(t *testing.T, format string) (disk, image []byte) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	harness.SmallDisk(t, raw, rand.Uint64(), diskBytes, diskBytes/2)
	disk = read(t, raw)
	if format == "raw" {
		return disk, disk
	}
	converted := filepath.Join(t.TempDir(), "disk.qcow2")
	harness.Convert(t, raw, converted, "-c")
	return disk, read(t, converted)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
