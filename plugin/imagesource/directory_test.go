package imagesource

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// library is a directory source with files in it.
func library(t *testing.T, files map[string]string) (*Directory, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	d, err := NewDirectory(DirectoryConfig{Name: "library", Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	return d, dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestNewDirectoryRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for name, config := range map[string]DirectoryConfig{
		"no name": {Path: "/tmp"}, "a colon": {Name: "a:b", Path: "/tmp"}, "a reserved name": {Name: "https", Path: "/tmp"},
		"no path": {Name: "a"}, "a relative path": {Name: "a", Path: "images"}, "a file": {Name: "a", Path: file},
	} {
		if _, err := NewDirectory(config); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestDirectoryStat(t *testing.T) {
	digest := sha256Of([]byte("image"))
	long, other := Digest{SHA512, strings.Repeat("a1", 64)}, Digest{SHA256, strings.Repeat("c3", 32)}
	d, _ := library(t, map[string]string{
		"a.qcow2": "image", "b.RAW": "image", "plain": "image", "sub/deep/c.img": "image", "empty": "",
		"own.raw": "image", "own.raw.sha256": other.Hex + "  own.raw\n", "fedora.qcow2": "image", "fedora-CHECKSUM": "SHA256 (fedora.qcow2) = " + other.Hex,
		"centos/x.qcow2": "image", "centos/CHECKSUM": "SHA256 (x.qcow2) = " + other.Hex, "talos/x.raw": "image", "talos/sha256sum.txt": other.Hex + "  _out/x.raw\n",
		"bsd/x.raw": "image", "bsd/CHECKSUM.SHA512": "SHA512 (x.raw) = " + long.Hex,
		"SHA256SUMS":          digest.Hex + "  a.qcow2\n" + digest.Hex + " *sub/deep/c.img\n",
		"SHA512SUMS":          long.Hex + "  a.qcow2\n" + long.Hex + "  plain\n",
		"sub/deep/SHA256SUMS": "SHA256 (c.img) = " + digest.Hex,
	})
	tests := []struct {
		id, format string
		digest     Digest
		size       int64
	}{
		{"a.qcow2", "qcow2", digest, 5},
		{"b.RAW", "raw", Digest{}, 5},
		{"plain", "", long, 5},
		{"sub/deep/c.img", "", digest, 5},
		{"empty", "", Digest{}, 0},
		{"own.raw", "raw", other, 5}, {"fedora.qcow2", "qcow2", other, 5}, {"centos/x.qcow2", "qcow2", other, 5},
		{"talos/x.raw", "raw", other, 5}, {"bsd/x.raw", "raw", long, 5},
	}
	for _, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			got, err := d.Stat(t.Context(), tt.id)
			if err != nil {
				t.Fatal(err)
			}
			if got.DiskFormat != tt.format || got.Digest != tt.digest || got.SizeBytes != tt.size {
				t.Errorf("format %q, digest %s, %d bytes; want %q, %s, %d",
					got.DiskFormat, got.Digest, got.SizeBytes, tt.format, tt.digest, tt.size)
			}
			if got.List == "" != got.Digest.IsZero() {
				t.Errorf("list = %q with digest %s", got.List, got.Digest)
			}
			if got.Ref() != "library:"+tt.id || got.Revision == "" || got.Domain != "" || time.Since(got.ModifiedAt) > time.Hour {
				t.Errorf("image = %+v", got)
			}
		})
	}
}

func TestDirectoryRefuses(t *testing.T) {
	d, dir := library(t, map[string]string{"a.raw": "image", "sub/x.raw": "image", ".hidden": "image", "sub/.x/y": "image"})
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "secret")
	for name, target := range map[string]string{
		"absolute": outside, "up": "../../../../etc/hostname", "loop": "loop", "inside": "sub/x.raw", "away": filepath.Dir(outside),
		"absinside": filepath.Join(dir, "sub/x.raw"), "absfolder": filepath.Join(dir, "sub"), "chain": "absinside",
		"dangling": filepath.Join(dir, "none"), "absself": dir, "sibling": dir + "x/a.raw",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		id   string
		want error
	}{
		{"inside", nil}, {"a.raw", nil}, {"absinside", nil}, {"absfolder/x.raw", nil}, {"chain", nil}, {"absself/sub/x.raw", nil},
		{"dangling", ErrRefused}, {"absself", ErrRefused}, {"sibling", ErrRefused},
		{"absolute", ErrRefused}, {"up", ErrRefused}, {"loop", ErrRefused}, {"away/outside", ErrRefused},
		{"fifo", ErrRefused}, {"sub", ErrRefused},
		{"", ErrRefused}, {".", ErrRefused}, {"..", ErrRefused}, {"/a.raw", ErrRefused}, {outside, ErrRefused},
		{"../" + filepath.Base(dir) + "/a.raw", ErrRefused}, {"sub/../a.raw", ErrRefused}, {"./a.raw", ErrRefused},
		{"sub//x.raw", ErrRefused}, {"sub/", ErrRefused}, {".hidden", ErrRefused}, {"sub/.x/y", ErrRefused},
		{"a.raw\x00", ErrRefused}, {`sub\x.raw`, ErrRefused}, {"a.raw\n", ErrRefused},
		{"missing", ErrNotFound}, {"a.raw/x", ErrNotFound}, {strings.Repeat("a", 300), ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			if _, err := d.Stat(t.Context(), tt.id); !errors.Is(err, tt.want) {
				t.Errorf("stat = %v, want %v", err, tt.want)
			}
			r, err := d.Open(t.Context(), Image{Source: "library", ID: tt.id, SizeBytes: -1})
			if !errors.Is(err, tt.want) {
				t.Errorf("open = %v, want %v", err, tt.want)
			}
			if err == nil {
				_ = r.Close()
			}
		})
	}
}

func TestDirectoryUnavailable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	d, err := NewDirectory(DirectoryConfig{Name: "library", Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(t.Context(), "a.raw"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without the directory = %v, want ErrUnavailable", err)
	}
	write(t, filepath.Join(dir, "a.raw"), "image")
	if _, err := d.Stat(t.Context(), "a.raw"); err != nil {
		t.Errorf("once it is there = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Stat(ctx, "a.raw"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled = %v", err)
	}
}

func TestDirectoryListsThatAreNotUsed(t *testing.T) {
	digest := Digest{SHA256, strings.Repeat("0f", 32)}
	tests := []struct {
		name, list, text string
		mode             os.FileMode
		warned           bool
		err              error
	}{
		{"a page", "SHA512SUMS", "<html>", 0o644, true, nil},
		{"a folder", "SHA256SUMS/x", "", 0o644, true, nil},
		{"a title line", "SHA256SUMS", "Release 12\n" + digest.Hex + "  b.raw\n", 0o644, true, nil},
		{"another image's bad line", "SHA256SUMS", "SHA256 (b.raw) = 00\n", 0o644, false, nil},
		{"the image's bad line", "SHA256SUMS", "SHA256 (a.raw) = 00\n", 0o644, false, ErrBadList},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, dir := library(t, map[string]string{"a.raw": "image", tt.list: tt.text})
			var warnings []string
			d.config.Warn = func(what string) { warnings = append(warnings, what) }
			for range 2 {
				image, err := d.Stat(t.Context(), "a.raw")
				if !errors.Is(err, tt.err) || !image.Digest.IsZero() {
					t.Errorf("stat = %s, %v; want %v", image.Digest, err, tt.err)
				}
				if err != nil && (errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "SHA256SUMS")) {
					t.Errorf("error = %v, want one that names the list", err)
				}
			}
			if (len(warnings) == 1) != tt.warned || len(warnings) > 1 {
				t.Errorf("warnings in %s: %q, want one: %v", dir, warnings, tt.warned)
			}
		})
	}
}

func TestDirectoryListsThatComeLaterAreFound(t *testing.T) {
	d, dir := library(t, map[string]string{"a.raw": "image"})
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir, old, old); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		if image, err := d.Stat(t.Context(), "a.raw"); err != nil || !image.Digest.IsZero() {
			t.Fatalf("digest = %s, %v", image.Digest, err)
		}
	}
	want := sha256Of([]byte("image"))
	write(t, filepath.Join(dir, "CHECKSUM"), "SHA256 (a.raw) = "+want.Hex)
	if image, err := d.Stat(t.Context(), "a.raw"); err != nil || image.Digest != want || image.List != "CHECKSUM" {
		t.Errorf("digest = %s of %q, %v; want %s", image.Digest, image.List, err, want)
	}
}

func TestADirectoryThatIsNotMountedIsUnavailable(t *testing.T) {
	dir := t.TempDir()
	d, err := NewDirectory(DirectoryConfig{Name: "library", Path: dir, ServeStale: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(t.Context(), "a.raw"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("empty = %v, want ErrUnavailable", err)
	}
	write(t, filepath.Join(dir, "b.raw"), "image")
	if _, err := d.Stat(t.Context(), "a.raw"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another image is there = %v, want ErrNotFound", err)
	}
}

func TestDirectorySumsAreReadAgainWhenTheyChange(t *testing.T) {
	one, two := sha256Of([]byte("1")), sha256Of([]byte("2"))
	d, dir := library(t, map[string]string{"a.raw": "image", "SHA256SUMS": one.Hex + "  a.raw\n"})
	for _, want := range []Digest{one, two} {
		write(t, filepath.Join(dir, "SHA256SUMS.new"), want.Hex+"  a.raw\n")
		if err := os.Rename(filepath.Join(dir, "SHA256SUMS.new"), filepath.Join(dir, "SHA256SUMS")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := d.Stat(t.Context(), "a.raw"); err != nil || got.Digest != want {
				t.Errorf("digest = %s, %v; want %s", got.Digest, err, want)
			}
		}
	}
}

func TestDirectoryRevisionChangesWithTheFile(t *testing.T) {
	d, dir := library(t, map[string]string{"a.raw": "image"})
	before, err := d.Stat(t.Context(), "a.raw")
	if err != nil {
		t.Fatal(err)
	}
	// Another file of the same size, with the same time.
	path := filepath.Join(dir, "a.raw")
	write(t, path+".new", "IMAGE")
	if err := errors.Join(os.Chtimes(path+".new", before.ModifiedAt, before.ModifiedAt), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
	after, err := d.Stat(t.Context(), "a.raw")
	if err != nil || after.Revision == before.Revision {
		t.Errorf("revision = %q, %v; want another", after.Revision, err)
	}
	if _, err := d.Open(t.Context(), before); !errors.Is(err, ErrChanged) {
		t.Errorf("open of the former one = %v, want ErrChanged", err)
	}
}

func TestDirectoryOpen(t *testing.T) {
	want := content(5<<20 + 3)
	tests := []struct {
		name   string
		change func(path string) error // after the first byte
		err    error
	}{
		{"whole", func(string) error { return nil }, nil},
		{"shortened", func(p string) error { return os.Truncate(p, 4096) }, ErrChanged},
		{"overwritten", func(p string) error { return os.WriteFile(p, content(5<<20+3), 0o644) }, ErrChanged},
		{"grown", func(p string) error { return os.Truncate(p, 6<<20) }, ErrChanged},
		{"renamed", func(p string) error { return os.Rename(p, p+".old") }, nil},
		{"replaced by another file", func(p string) error {
			return errors.Join(os.WriteFile(p+".new", []byte("x"), 0o644), os.Rename(p+".new", p))
		}, nil},
		{"removed", os.Remove, nil},
		{"linked", func(p string) error { return os.Link(p, p+".link") }, nil},
		{"other rights", func(p string) error { return os.Chmod(p, 0o600) }, nil},
		{"written to, its time put back", func(p string) error {
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{want[0] + 1}, 0)
			return errors.Join(err, f.Close(), os.Chtimes(p, info.ModTime(), info.ModTime()))
		}, ErrChanged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, dir := library(t, map[string]string{"a.raw": string(want)})
			image, err := d.Stat(t.Context(), "a.raw")
			if err != nil {
				t.Fatal(err)
			}
			r, err := d.Open(t.Context(), image)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got := make([]byte, 1)
			if _, err := r.Read(got); err != nil {
				t.Fatal(err)
			}
			if err := tt.change(filepath.Join(dir, "a.raw")); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(r)
			if !errors.Is(err, tt.err) {
				t.Fatalf("read = %v, want %v", err, tt.err)
			}
			if err == nil && !bytes.Equal(append(got, rest...), want) {
				t.Error("other bytes")
			}
			if err := errors.Join(r.Close(), r.Close()); err != nil {
				t.Errorf("close twice = %v", err)
			}
		})
	}
}

func TestDirectoryReadEndsWithItsContext(t *testing.T) {
	d, _ := library(t, map[string]string{"a.raw": "image"})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := d.Open(ctx, Image{ID: "a.raw"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("read = %v, want context.Canceled", err)
	}
}

func BenchmarkDirectory(b *testing.B) {
	const size = 256 << 20
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.raw"), content(size), 0o644); err != nil {
		b.Fatal(err)
	}
	d, err := NewDirectory(DirectoryConfig{Name: "library", Path: dir})
	if err != nil {
		b.Fatal(err)
	}
	image, err := d.Stat(b.Context(), "a.raw")
	if err != nil {
		b.Fatal(err)
	}
	read := func(b *testing.B, through func(io.Reader) io.Reader) {
		b.SetBytes(size)
		p := make([]byte, 1<<20)
		for b.Loop() {
			r, err := d.Open(b.Context(), image)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{through(r)}, p); err != nil {
				b.Fatal(err)
			}
			_ = r.Close()
		}
	}
	b.Run("read", func(b *testing.B) { read(b, func(r io.Reader) io.Reader { return r }) })
	b.Run("verified", func(b *testing.B) {
		read(b, func(r io.Reader) io.Reader { return Verify(r, Digest{}) })
	})
	b.Run("stat", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.Stat(b.Context(), "a.raw"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
