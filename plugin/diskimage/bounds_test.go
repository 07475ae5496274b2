package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// scattered is a qcow2 image in clusters of 512 bytes, of which all the tables come first, whose every
// cluster is alone: nothing about it can be kept in few words. Its data is left out.
type scattered struct {
	l1     int64 // entries
	at     int64
	header []byte
}

func newScattered(disk int64) *scattered {
	s := &scattered{l1: disk / (512 * 64), header: make([]byte, 512)}
	be := binary.BigEndian
	copy(s.header, "QFI\xfb\x00\x00\x00\x02")
	be.PutUint32(s.header[20:], 9)
	be.PutUint64(s.header[24:], uint64(disk))
	be.PutUint32(s.header[36:], uint32(s.l1))
	be.PutUint64(s.header[40:], 1024)
	be.PutUint64(s.header[48:], 512)
	be.PutUint32(s.header[56:], 1)
	return s
}

func (s *scattered) tables() int64 { return 1024 + s.l1*8 }
func (s *scattered) data() int64   { return s.tables() + s.l1*512 }

// Read implements io.Reader, eight bytes at a time.
func (s *scattered) Read(p []byte) (n int, err error) {
	for ; n+8 <= len(p) && s.at < s.data(); n, s.at = n+8, s.at+8 {
		v := uint64(0)
		switch {
		case s.at < 512:
			v = binary.BigEndian.Uint64(s.header[s.at:])
		case s.at < 1024:
		case s.at < s.tables():
			v = uint64(s.tables() + (s.at-1024)/8*512)
		default:
			i := (s.at - s.tables()) / 8
			v = uint64(s.data() + (i^1)*512) // neighbours change places
		}
		binary.BigEndian.PutUint64(p[n:], v)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// peakHeap watches the heap while a decoder reports progress.
type peakHeap struct{ base, peak uint64 }

func newPeakHeap() *peakHeap {
	p := &peakHeap{}
	debug.FreeOSMemory()
	p.look()
	p.base, p.peak = p.peak, 0
	return p
}

func (p *peakHeap) look() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.peak = max(p.peak, m.HeapInuse)
}

func (p *peakHeap) over() uint64 { return p.peak - min(p.peak, p.base) }

func TestTablesAreBoundedInMemory(t *testing.T) {
	disks := []int64{1 << 30, 20 << 30}
	if testing.Short() || underRaceDetector {
		disks = disks[:1]
	}
	for _, disk := range disks {
		heap := newPeakHeap()
		s := newScattered(disk)
		r, err := diskimage.Open(t.Context(), s, diskimage.Options{SourceBytes: -1, Scratch: newScratch(t)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Decode(t.Context(), &boundedTarget{TB: t, size: disk}, func(_, _ int64) { heap.look() })
		checkRule(t, err, diskimage.RuleTruncated)
		t.Logf("disk of %d GiB: %d MiB of heap over idle", disk>>30, heap.over()>>20)
		if heap.over() > 64<<20 { // with the garbage that is not collected yet
			t.Errorf("disk of %d GiB took %d MiB of heap", disk>>30, heap.over()>>20)
		}
	}
}

func TestClustersAreBoundedInNumber(t *testing.T) {
	image, lay := diskimagetest.QCOW2{Content: programBytes(t, 1<<20), Size: 512 << 20}.Build()
	for i := range 8192 {
		binary.BigEndian.PutUint64(image[lay.L2[0]+int64(i)*8:], uint64(i+1)<<30)
	}
	_, _, err := decode(t, bytes.NewReader(image), diskimage.Options{SourceBytes: -1, Scratch: newScratch(t)})
	checkRule(t, err, diskimage.RuleTooManyClusters)
}

// A large sparse image is read, and its zeroes are not written.
func TestDecodeOfAMostlyEmptyDisk(t *testing.T) {
	const size = 20 << 30
	disk := programBytes(t, 2<<20)
	for name, image := range map[string]diskimagetest.QCOW2{
		"plain": {Content: disk, Size: size}, "zlib": {Content: disk, Size: size, Storage: diskimagetest.Zlib},
		"clusters of 2 MiB": {Content: disk, Size: size, ClusterBits: 21, Storage: diskimagetest.Zstd},
	} {
		t.Run(name, func(t *testing.T) {
			b := image.Bytes()
			heap := newPeakHeap()
			r, err := diskimage.Open(t.Context(), bytes.NewReader(b), diskimage.Options{SourceBytes: int64(len(b))})
			if err != nil {
				t.Fatal(err)
			}
			target := &boundedTarget{TB: t, size: size}
			stats, err := r.Decode(t.Context(), target, func(_, _ int64) { heap.look() })
			if err != nil || stats.VirtualBytes != size || stats.WrittenBytes > 2<<20 || target.written != stats.WrittenBytes {
				t.Errorf("stats %+v, %v", stats, err)
			}
			if heap.over() > 64<<20 { // with the garbage that is not collected yet
				t.Errorf("%d MiB of heap", heap.over()>>20)
			}
		})
	}
}

func BenchmarkTables(b *testing.B) {
	s := newScattered(1 << 30)
	b.SetBytes(s.data())
	for b.Loop() {
		s.at = 0
		r, err := diskimage.Open(b.Context(), s, diskimage.Options{SourceBytes: -1, Scratch: memoryScratch{}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Decode(b.Context(), &boundedTarget{TB: b, size: 1 << 30}, nil); err == nil {
			b.Fatal("decoded without data")
		}
	}
}
