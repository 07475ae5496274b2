package diskimage_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

// tool runs a program that decides what is right, and skips the test where it is not installed.
func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// rawOf is what qemu-img makes of an image.
func rawOf(t testing.TB, image string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "oracle.raw")
	tool(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, out)
	return readFile(t, out)
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newScratch(t testing.TB) *diskimage.DirScratch {
	t.Helper()
	s, err := diskimage.NewDirScratch(filepath.Join(t.TempDir(), "scratch"), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// decode decodes stream and returns the disk.
func decode(t testing.TB, stream io.Reader, opts diskimage.Options) ([]byte, diskimage.Stats, error) {
	t.Helper()
	r, err := diskimage.Open(t.Context(), stream, opts)
	if err != nil {
		return nil, diskimage.Stats{}, err
	}
	defer r.Close()
	target := &memoryFile{b: make([]byte, 0, max(r.Info().VirtualBytes, 0))}
	stats, err := r.Decode(t.Context(), target, nil)
	if err != nil {
		return nil, stats, err
	}
	if int64(len(target.b)) > stats.VirtualBytes {
		t.Errorf("target has %d bytes, the disk %d", len(target.b), stats.VirtualBytes)
	}
	if _, err := target.WriteAt(nil, stats.VirtualBytes); err != nil {
		t.Fatal(err)
	}
	return target.b, stats, nil
}

// checkDecodes compares a decoded image with what qemu-img makes of it, whole and in odd pieces.
func checkDecodes(t *testing.T, image string) diskimage.Stats {
	t.Helper()
	content, want := readFile(t, image), rawOf(t, image)
	if _, err := diskimage.InspectFile(t.Context(), bytes.NewReader(content), int64(len(content)), diskimage.Options{}); err != nil {
		t.Errorf("InspectFile: %v", err)
	}
	var stats diskimage.Stats
	for _, way := range []struct {
		name   string
		stream io.Reader
		size   int64
	}{
		{"known size", bytes.NewReader(content), int64(len(content))},
		{"unknown size", bytes.NewReader(content), -1},
		{"odd pieces", &oddReader{in: bytes.NewReader(content), rnd: rand.New(rand.NewPCG(1, 2))}, int64(len(content))},
		{"lent blocks", &lender{oddReader{in: bytes.NewReader(content), rnd: rand.New(rand.NewPCG(3, 4))}}, int64(len(content))},
		{"with the end's error", iotest.DataErrReader(bytes.NewReader(content)), -1},
	} {
		if underRaceDetector && way.name != "odd pieces" && way.name != "lent blocks" {
			continue
		}
		got, s, err := decode(t, way.stream, diskimage.Options{SourceBytes: way.size, Scratch: newScratch(t)})
		if err != nil {
			t.Errorf("%s: %v", way.name, err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: differs from qemu-img at %d of %d bytes (got %d)", way.name, firstDifference(got, want), len(want), len(got))
		}
		if s.SourceBytes != int64(len(content)) {
			t.Errorf("%s: read %d of %d bytes", way.name, s.SourceBytes, len(content))
		}
		stats = s
	}
	return stats
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// oddReader returns a few bytes at a time.
type oddReader struct {
	in  io.Reader
	rnd *rand.Rand
}

func (o *oddReader) Read(p []byte) (int, error) {
	return o.in.Read(p[:min(len(p), 1+o.rnd.IntN(10_000))])
}

// programBytes is n bytes from the middle of a real program file, this test's own.
func programBytes(t testing.TB, n int) []byte {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	program = program[min(len(program)/2, 1<<20):]
	return bytes.Repeat(program, n/len(program)+1)[:n]
}

// contents are disks to be put into images, small enough for clusters of 512 bytes.
func contents(t testing.TB) map[string][]byte {
	rnd := rand.NewChaCha8([32]byte{7})
	random := make([]byte, 300<<10)
	rnd.Read(random)
	sparse := make([]byte, 5<<20+512)
	for at := 0; at < len(sparse); at += 777 << 10 {
		copy(sparse[at:], random[:3000])
	}
	mixed := make([]byte, 3<<20+1536)
	copy(mixed[100<<10:], programBytes(t, 1<<20))
	copy(mixed[2<<20:], random)
	return map[string][]byte{
		"program": programBytes(t, 3<<20),
		"random":  random,
		"sparse":  sparse,
		"zero":    make([]byte, 1<<20),
		"mixed":   mixed,
		"sector":  random[:512],
	}
}

func TestDecodeEqualsQemuImg(t *testing.T) {
	disks := contents(t)
	for _, compat := range []string{"0.10", "1.1"} {
		for _, compression := range []string{"none", "zlib", "zstd"} {
			if compat == "0.10" && compression == "zstd" {
				continue
			}
			for _, cluster := range []int{512, 1 << 10, 4 << 10, 64 << 10, 2 << 20} {
				for name, disk := range disks {
					t.Run(fmt.Sprintf("%s/%s/%d/%s", compat, compression, cluster, name), func(t *testing.T) {
						t.Parallel()
						image := filepath.Join(t.TempDir(), "image")
						options := fmt.Sprintf("compat=%s,cluster_size=%d", compat, cluster)
						args := []string{"convert", "-f", "raw", "-O", "qcow2"}
						if compression != "none" {
							args = append(args, "-c")
						}
						if compression == "zstd" {
							options += ",compression_type=zstd"
						}
						tool(t, "qemu-img", append(args, "-o", options, writeFile(t, "disk", disk), image)...)
						// qemu-img compresses several clusters at once, so that a few come before their table.
						if s := checkDecodes(t, image); s.ScratchBytes > int64(len(disk)/64) || cluster >= 64<<10 && s.ScratchBytes > 0 {
							t.Errorf("%d bytes of scratch", s.ScratchBytes)
						}
					})
				}
			}
		}
	}
}
