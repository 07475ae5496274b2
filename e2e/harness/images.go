package harness

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// MiB and GiB are numbers of bytes.
const (
	MiB = 1 << 20
	GiB = 1 << 30
)

// NeedTools skips the test where a tool is missing, and names it.
func NeedTools(tb testing.TB, tools ...string) {
	tb.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			tb.Skipf("%s is not installed (e2e/install.sh installs it)", tool)
		}
	}
}

// Must runs a command that has to succeed.
func Must(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.CommandContext(tb.Context(), name, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// RealDisk is a raw disk: an ext4 filesystem with real files of this machine (the Go toolchain), sparse,
// made once per test process.
func RealDisk(tb testing.TB) string {
	tb.Helper()
	NeedTools(tb, "mke2fs")
	path, err := realDisk()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var realDisk = sync.OnceValues(func() (string, error) {
	dir, err := SharedDir()
	if err != nil {
		return "", err
	}
	files := filepath.Join(dir, "files")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	for _, part := range []string{"src/net", "src/crypto", "src/runtime", "bin/gofmt"} {
		target := filepath.Join(files, filepath.Dir(part))
		if err := os.MkdirAll(target, 0o755); err != nil {
			return "", err
		}
		if out, err := exec.Command("cp", "-r", filepath.Join(strings.TrimSpace(string(root)), part), target).CombinedOutput(); err != nil {
			return "", fmt.Errorf("copy %s: %w\n%s", part, err, out)
		}
	}
	disk := filepath.Join(dir, "real.raw")
	out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-d", files, disk, "96M").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	return disk, nil
})

// Convert writes raw as another image with qemu-img, with its options.
func Convert(tb testing.TB, raw, to string, options ...string) {
	tb.Helper()
	NeedTools(tb, "qemu-img")
	args := append([]string{"convert", "-f", "raw", "-O", "qcow2"}, options...)
	Must(tb, "qemu-img", append(args, raw, to)...)
}

// Oracle is what qemu-img makes of an image: its disk, raw.
func Oracle(tb testing.TB, image, format string) string {
	tb.Helper()
	NeedTools(tb, "qemu-img")
	out := filepath.Join(tb.TempDir(), "oracle.raw")
	Must(tb, "qemu-img", "convert", "-f", format, "-O", "raw", image, out)
	return out
}

// SmallDisk writes a raw disk of size bytes that holds data bytes of random content from this seed, in
// pieces over the whole disk, and holes between them. Equal seeds give equal disks.
func SmallDisk(tb testing.TB, path string, seed uint64, size, data int64) {
	tb.Helper()
	file, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		tb.Fatal(err)
	}
	const pieces = 8
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	piece := make([]byte, data/pieces)
	for i := range int64(pieces) {
		random.Read(piece)
		if _, err := file.WriteAt(piece, i*(size/pieces)); err != nil {
			tb.Fatal(err)
		}
	}
}

// Patch changes bytes of a file at an offset.
func Patch(tb testing.TB, path string, offset int64, data ...byte) {
	tb.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(data, offset); err != nil {
		tb.Fatal(err)
	}
}

// SameContent checks that volume holds size bytes: disk's content and then zeroes.
func SameContent(tb testing.TB, volume, disk string, size int64) {
	tb.Helper()
	got, err := os.Open(volume)
	if err != nil {
		tb.Fatal(err)
	}
	defer got.Close()
	info, err := got.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	if info.Size() != size {
		tb.Fatalf("size of %s: got %d, want %d", volume, info.Size(), size)
	}
	SameBytes(tb, Volume{Name: volume, Size: size}, got, disk)
}

// SameBytes checks that all bytes of a volume, as it is read by r, are disk's content and then zeroes.
func SameBytes(tb testing.TB, v Volume, r io.ReaderAt, disk string) {
	tb.Helper()
	want, err := os.Open(disk)
	if err != nil {
		tb.Fatal(err)
	}
	defer want.Close()
	a, b := make([]byte, MiB), make([]byte, MiB)
	for offset := int64(0); offset < v.Size; offset += MiB {
		n := min(MiB, v.Size-offset)
		if _, err := r.ReadAt(a[:n], offset); err != nil {
			tb.Fatalf("read %s at %d: %v", v.Name, offset, err)
		}
		clear(b)
		want.ReadAt(b[:n], offset) // what is short or beyond the end stays zero
		if !bytes.Equal(a[:n], b[:n]) {
			tb.Fatalf("%s differs from %s in the MiB at %d", v.Name, disk, offset)
		}
	}
}

// FileSize is the length of a file in bytes.
func FileSize(tb testing.TB, path string) int64 {
	tb.Helper()
	info, err := os.Stat(path)
	if err != nil {
		tb.Fatal(err)
	}
	return info.Size()
}
