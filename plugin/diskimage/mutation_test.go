package diskimage_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// checkBytes decodes whatever the bytes are: it must end with a disk or with a refusal, twice the same, and
// never write beyond the disk.
func checkBytes(t testing.TB, image []byte, opts diskimage.Options) {
	t.Helper()
	const volume = 4 << 20
	opts.MaxVirtualBytes = volume
	outcome := func(size int64) (disk []byte, err error) {
		o := opts
		o.SourceBytes, o.Scratch = size, memoryScratch{}
		r, err := diskimage.Open(t.Context(), bytes.NewReader(image), o)
		if err != nil {
			return nil, err
		}
		disk = make([]byte, volume)
		stats, err := r.Decode(t.Context(), &sliceTarget{TB: t, disk: disk, size: max(r.Info().VirtualBytes, 0)}, nil)
		if err == nil && (stats.SourceBytes != int64(len(image)) || stats.VirtualBytes > volume) {
			t.Errorf("stats %+v", stats)
		}
		return disk, err
	}
	known, err := outcome(int64(len(image)))
	if err != nil && !errors.Is(err, diskimage.ErrRefused) {
		t.Fatalf("neither a disk nor a refusal: %v", err)
	}
	unknown, unknownErr := outcome(-1)
	if (err == nil) != (unknownErr == nil) {
		t.Fatalf("size known: %v; unknown: %v", err, unknownErr)
	}
	if err == nil && !bytes.Equal(known, unknown) {
		t.Fatal("what is decoded depends on whether the size is known")
	}
	opts.Scratch = memoryScratch{}
	_, inspectErr := diskimage.InspectFile(t.Context(), bytes.NewReader(image), int64(len(image)), opts)
	if err == nil && inspectErr != nil {
		t.Fatalf("decoded, but InspectFile refuses it: %v", inspectErr)
	}
}

// sliceTarget writes to memory; size 0 is a disk whose size is not known yet.
type sliceTarget struct {
	testing.TB
	disk []byte
	size int64
}

func (s *sliceTarget) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(s.disk)) || s.size > 0 && off+int64(len(p)) > s.size {
		s.Errorf("write of %d bytes at %d, disk of %d", len(p), off, s.size)
		return 0, errBroken
	}
	return copy(s.disk[off:], p), nil
}

// smallImages are valid images of every kind, some ten KiB each.
func smallImages(t testing.TB) map[string][]byte {
	t.Helper()
	disk := programBytes(t, 9<<10)
	disk = append(disk, make([]byte, 36<<10)...) // more than one table maps, in clusters of 512 bytes
	disk = append(disk, disk[:5<<10]...)
	out := map[string][]byte{"raw": disk[:5000]}
	for _, storage := range []diskimagetest.Storage{diskimagetest.Plain, diskimagetest.Zlib, diskimagetest.Zstd} {
		for _, order := range []diskimagetest.Order{diskimagetest.TablesFirst, diskimagetest.TablesLast, diskimagetest.Shuffled} {
			for _, bits := range []int{9, 12} {
				for _, version := range []int{2, 3} {
					if version == 2 && (storage == diskimagetest.Zstd || order != diskimagetest.TablesFirst) {
						continue
					}
					q := diskimagetest.QCOW2{Version: version, ClusterBits: bits, Content: disk, Storage: storage, Order: order, Seed: 9}
					if version == 3 {
						q.ZeroFlags = 2
					}
					out[fmt.Sprintf("v%d/%d/%d/%d", version, storage, order, bits)] = q.Bytes()
				}
			}
		}
	}
	for _, c := range diskimage.Compressions() {
		out["raw"+c.Suffix()] = diskimagetest.Compress(c, out["raw"])
		out["qcow2"+c.Suffix()] = diskimagetest.Compress(c, out["v3/0/2/9"])
	}
	return out
}

func TestDamagedImagesAreDecodedOrRefused(t *testing.T) {
	rounds := 120
	if testing.Short() || underRaceDetector {
		rounds = 20
	}
	for name, image := range smallImages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkBytes(t, image, diskimage.Options{})
			rnd := rand.New(rand.NewPCG(8, uint64(len(name))))
			for range rounds {
				checkBytes(t, damage(rnd, image), diskimage.Options{})
			}
		})
	}
}

// damage flips, overwrites, cuts or repeats a few bytes; half of the time where headers and tables are.
func damage(rnd *rand.Rand, image []byte) []byte {
	b := bytes.Clone(image)
	for range 1 + rnd.IntN(3) {
		at := rnd.IntN(len(b))
		if rnd.IntN(2) == 0 {
			at = rnd.IntN(min(len(b), 2048))
		}
		switch rnd.IntN(6) {
		case 0:
			b[at] ^= 1 << rnd.IntN(8)
		case 1:
			b[at] = byte(rnd.IntN(256))
		case 2:
			clear(b[at:min(len(b), at+rnd.IntN(600))])
		case 3:
			b = b[:max(1, at)]
		case 4:
			copy(b[at&^7:], b[rnd.IntN(len(b))&^7:][:min(8, len(b)-at&^7)])
		case 5:
			b = append(b, image[:rnd.IntN(600)]...)
		}
	}
	return b
}
