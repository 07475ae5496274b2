package diskimage_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

const benchDiskBytes = 512 << 20

// benchDisk makes a disk of files of this machine, with a hole of a quarter in it.
func benchDisk(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	left := int64(benchDiskBytes * 3 / 4)
	for _, dir := range []string{"/usr/lib", "/usr/bin", "/usr/share", "/usr/local/go", "/root/go"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if left <= 0 {
				return filepath.SkipAll
			}
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			in, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer in.Close()
			n, err := io.Copy(w, io.LimitReader(in, left))
			left -= n
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Truncate(benchDiskBytes); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkDecode decodes into a file, fsync included, by this package and by qemu-img.
func BenchmarkDecode(b *testing.B) {
	disk := benchDisk(b)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"raw", nil},
		{"plain", []string{}},
		{"zlib", []string{"-c"}},
		{"zstd", []string{"-c", "-o", "compression_type=zstd"}},
	} {
		image, format := disk, "raw"
		if c.args != nil {
			image, format = filepath.Join(b.TempDir(), "image"), "qcow2"
			tool(b, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, c.args...), disk, image)...)
		}
		out := filepath.Join(b.TempDir(), "out")
		for name, tee := range map[string]func(io.Reader) io.Reader{
			"own":        func(r io.Reader) io.Reader { return r },
			"own+sha256": func(r io.Reader) io.Reader { return io.TeeReader(r, sha256.New()) },
		} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.SetBytes(benchDiskBytes)
				for b.Loop() {
					decodeFile(b, image, out, tee)
				}
			})
		}
		b.Run(c.name+"/qemu-img", func(b *testing.B) {
			b.SetBytes(benchDiskBytes)
			for b.Loop() {
				removeFile(b, out)
				tool(b, "qemu-img", "convert", "-f", format, "-O", "raw", "-W", "-m", "8", image, out)
				syncFile(b, out)
			}
		})
		if format != "raw" {
			continue
		}
		b.Run(c.name+"/cp", func(b *testing.B) {
			b.SetBytes(benchDiskBytes)
			for b.Loop() {
				removeFile(b, out)
				tool(b, "cp", "--sparse=always", image, out)
				syncFile(b, out)
			}
		})
	}
}

func removeFile(b *testing.B, path string) {
	b.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Fatal(err)
	}
}

func syncFile(b *testing.B, path string) {
	b.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}

func decodeFile(b *testing.B, image, out string, tee func(io.Reader) io.Reader) {
	b.Helper()
	removeFile(b, out)
	in, err := os.Open(image)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(out)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	r, err := diskimage.Open(b.Context(), tee(in), diskimage.Options{SourceBytes: info.Size()})
	if err != nil {
		b.Fatal(err)
	}
	stats, err := r.Decode(b.Context(), f, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := f.Truncate(stats.VirtualBytes); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}
