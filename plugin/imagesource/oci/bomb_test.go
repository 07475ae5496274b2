package oci_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// block is a header of an archive, or what follows one, filled up.
func block(name string, kind byte, content string) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00"+fmt.Sprintf("%011o\x00", len(content))+"00000000000\x00        ")
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(h, append([]byte(content), make([]byte, (512-len(content)%512)%512)...)...)
}

// record is one of a header in PAX's form.
func record(key, value string) string {
	text := " " + key + "=" + value + "\n"
	n := len(text)
	for n != len(fmt.Sprint(n))+len(text) {
		n = len(fmt.Sprint(n)) + len(text)
	}
	return fmt.Sprint(n) + text
}

// sparse is an archive of some hundred bytes with a disk of a PiB in it.
func sparse() []byte {
	pax := record("GNU.sparse.major", "0") + record("GNU.sparse.minor", "1") + record("GNU.sparse.size", fmt.Sprint(int64(1)<<50)) +
		record("GNU.sparse.numblocks", "1") + record("GNU.sparse.map", "0,1")
	return append(append(block("pax", tar.TypeXHeader, pax), block("disk/a.img", tar.TypeReg, "x")...), make([]byte, 1024)...)
}

// packed is an archive with a file of zeroes before the disk.
func packed(t *testing.T, zeroes int64) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	err = w.WriteHeader(&tar.Header{Name: "other", Typeflag: tar.TypeReg, Size: zeroes})
	if err == nil {
		_, err = io.CopyN(w, zero{}, zeroes)
	}
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What a layer becomes is in proportion to it: nobody fills a disk, or spends days, with what fits into a manifest.
func TestALayerThatNeverEnds(t *testing.T) {
	f := newRegistry(t)
	s := f.source(t, nil)
	for name, layer := range map[string][]byte{"sparse": sparse(), "zeroes": packed(t, 3<<30)} {
		f.push(t, "disks/"+name, "1", "application/vnd.oci.image.layer.v1.tar", "", layer)
		i, err := s.Stat(t.Context(), name+":1")
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), i)
		n := int64(0)
		if err == nil {
			n, err = io.CopyN(io.Discard, r, 3<<30)
			_ = r.Close()
		}
		if !errors.Is(err, imagesource.ErrRefused) || !strings.Contains(err.Error(), "of its layer") {
			t.Errorf("%s, %d bytes: read %d, %v, want %v", name, len(layer), n, err, imagesource.ErrRefused)
		}
	}
}
