package diskimage_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

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
