package diskimage_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// memoryScratch is a Scratch for tests in their thousands.
type memoryScratch struct{}

func (memoryScratch) File() (diskimage.ScratchFile, error) { return &memoryFile{}, nil }

type memoryFile struct {
	mu sync.Mutex
	b  []byte
}

func (m *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if end := off + int64(len(p)); end > int64(len(m.b)) {
		m.b = slices.Grow(m.b, int(end)-len(m.b))[:end]
	}
	return copy(m.b[off:], p), nil
}

func (m *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := copy(p, m.b[min(off, int64(len(m.b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memoryFile) Close() error { return nil }

func seed(f *testing.F) {
	for _, image := range smallImages(f) {
		f.Add(image)
	}
	for _, c := range diskimagetest.Hostile() {
		if len(c.Bytes) < 64<<10 {
			f.Add(c.Bytes)
		}
	}
}

func FuzzInspect(f *testing.F) {
	seed(f)
	all := []diskimage.Format{diskimage.Raw, diskimage.QCOW2, diskimage.VMDK, diskimage.VHD, diskimage.VHDX, diskimage.VDI, diskimage.QED, diskimage.QCOW1, diskimage.LUKS, diskimage.ISO}
	f.Fuzz(func(t *testing.T, image []byte) {
		for _, accept := range [][]diskimage.Format{nil, all} {
			opts := diskimage.Options{Accept: accept, Scratch: memoryScratch{}, SourceBytes: int64(len(image)), MaxVirtualBytes: 1 << 40}
			info, err := diskimage.InspectFile(t.Context(), bytes.NewReader(image), int64(len(image)), opts)
			if err != nil && !errors.Is(err, diskimage.ErrRefused) {
				t.Fatalf("neither passed nor refused: %v", err)
			}
			if err == nil && info.VirtualBytes > 1<<40 {
				t.Fatalf("passed with %d bytes", info.VirtualBytes)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) > 256<<10 {
			return
		}
		checkBytes(t, image, diskimage.Options{})
	})
}

// FuzzUnpack compares what is unpacked with what the standard library, or another implementation, makes of it.
func FuzzUnpack(f *testing.F) {
	disk := programBytes(f, 20<<10)
	for _, c := range diskimage.Compressions() {
		packed := diskimagetest.Compress(c, disk)
		f.Add(packed)
		f.Add(slices.Concat(packed, packed))
		f.Add(append(bytes.Clone(packed), make([]byte, 8)...))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		const most = 4 << 20
		reference := referenceUnpacker(packed)
		if reference == nil || len(packed) > 256<<10 {
			return
		}
		opts := diskimage.Options{SourceBytes: int64(len(packed)), MaxVirtualBytes: most, Scratch: memoryScratch{}}
		r, err := diskimage.Open(t.Context(), bytes.NewReader(packed), opts)
		if err != nil && !errors.Is(err, diskimage.ErrRefused) {
			t.Fatalf("neither open nor refused: %v", err)
		}
		if err != nil || r.Info().Compression == "" || r.Info().Format != diskimage.Raw {
			return
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		got, _, err := decode(t, bytes.NewReader(packed), opts)
		if err != nil && !errors.Is(err, diskimage.ErrRefused) {
			t.Fatalf("neither a disk nor a refusal: %v", err)
		}
		if err != nil {
			return
		}
		want, err := io.ReadAll(io.LimitReader(reference, most+1))
		if len(want) > most || !bytes.Equal(got, want[:min(len(want), len(got))]) || len(got) != len(want) && err == nil {
			t.Fatalf("unpacked to %d bytes, another makes %d of it (%v)", len(got), len(want), err)
		}
	})
}

// referenceUnpacker is another implementation; nil: there is none, or the bytes are not compressed.
func referenceUnpacker(packed []byte) io.Reader {
	in := bytes.NewReader(packed)
	switch {
	case bytes.HasPrefix(packed, []byte("\x1f\x8b")):
		if z, err := gzip.NewReader(in); err == nil {
			return z
		}
	case bytes.HasPrefix(packed, []byte("BZh")):
		if z, err := bzip2.NewReader(in, nil); err == nil {
			return z
		}
	case bytes.HasPrefix(packed, []byte("\x28\xb5\x2f\xfd")):
		if z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1)); err == nil {
			return z
		}
	case bytes.HasPrefix(packed, []byte("\xfd7zXZ")):
		if z, err := xz.NewReader(in, 0); err == nil {
			return z
		}
	}
	return nil
}
