package oci

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Bounds of what a layer may become: a few bytes of an archive can say that a file is as large as no disk is.
const (
	freeUnpacked = 1 << 30 // so many bytes, whatever the layer has
	mostRatio    = 1100    // bytes for each of the layer beyond that; gzip cannot give more than 1032
)

// disk is the file below /disk in a containerdisk's layer, while the layer is read: hashed, unpacked and searched in one
// pass.
type disk struct {
	layer  io.ReadCloser
	hashed *hashed
	want   imagesource.Digest
	unpack io.Closer // nil: nothing is unpacked
	file   io.Reader
	ended  error // what Read returns from now on
}

// hashed hashes what is read, and remembers why that ended.
type hashed struct {
	from  io.Reader
	sum   hash.Hash
	bytes int64
	err   error
}

// Read implements io.Reader.
func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.from.Read(p)
	h.sum.Write(p[:n])
	h.bytes += int64(n)
	if err != nil {
		h.err = err
	}
	return n, err
}

// bounded ends what grows beyond all measure of the layer that it is in.
type bounded struct {
	from  io.Reader
	layer *hashed
	given int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	b.given += int64(n)
	if err == nil && b.given > freeUnpacked && b.given/mostRatio > b.layer.bytes {
		err = fmt.Errorf("%w: over %d bytes come from %d of its layer", imagesource.ErrRefused, b.given, b.layer.bytes)
	}
	return n, err
}

// openDisk finds the file in a layer, which it closes where there is none. imagesource.ErrRefused, ErrDigestMismatch.
func openDisk(layer io.ReadCloser, want imagesource.Digest) (io.ReadCloser, error) {
	d := &disk{layer: layer, want: want, hashed: &hashed{from: layer, sum: sha256.New()}}
	if want.Algorithm == imagesource.SHA512 {
		d.hashed.sum = sha512.New()
	}
	err := d.find()
	if err == nil {
		return d, nil
	}
	err = d.explain(err)
	return nil, errors.Join(err, d.Close())
}

// find reads up to the file.
func (d *disk) find() error {
	archive, err := d.unpacked()
	if err != nil {
		return err
	}
	for files := tar.NewReader(&bounded{from: archive, layer: d.hashed}); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: its layer has no file below /disk", imagesource.ErrRefused)
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg && path.Dir(path.Clean("/"+h.Name)) == "/disk" && !strings.HasPrefix(path.Base(h.Name), ".wh.") {
			d.file = &bounded{from: files, layer: d.hashed}
			return nil
		}
	}
}

// unpacked is the layer's archive.
func (d *disk) unpacked() (io.Reader, error) {
	const first = 4
	b := bufio.NewReaderSize(d.hashed, 64<<10)
	magic, err := b.Peek(first)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		d.unpack = z
		return z, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		const window = 128 << 20
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(window), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		c := z.IOReadCloser()
		d.unpack = c
		return c, nil
	}
	return b, nil
}

// Read implements io.Reader. At the file's end the rest of the layer is read, and its digest compared.
func (d *disk) Read(p []byte) (int, error) {
	if d.ended != nil {
		return 0, d.ended
	}
	n, err := d.file.Read(p)
	if err == nil {
		return n, nil
	}
	d.ended = d.explain(err)
	return n, d.ended
}

// explain says why the file ended: what is wrong with the layer's bytes counts before what that did to the archive.
func (d *disk) explain(err error) error {
	if broken := d.hashed.err; broken != nil && !errors.Is(broken, io.EOF) {
		return broken
	}
	if _, rest := io.Copy(io.Discard, d.hashed); rest != nil {
		return rest
	}
	if got := hex.EncodeToString(d.hashed.sum.Sum(nil)); got != d.want.Hex {
		return fmt.Errorf("%w: its layer has %s:%s, its manifest says %s", imagesource.ErrDigestMismatch, d.want.Algorithm, got, d.want)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, imagesource.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: its layer cannot be unpacked: %w", imagesource.ErrRefused, err)
}

// Close implements io.Closer.
func (d *disk) Close() error {
	if d.unpack != nil {
		_ = d.unpack.Close() // nothing is lost by an error here
	}
	return d.layer.Close()
}
