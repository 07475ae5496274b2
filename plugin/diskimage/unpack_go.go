//go:build !cunpack || !cgo

package diskimage

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/therootcompany/xz"
)

// unxz unpacks xz (The .xz File Format 1.1.0). A build with the tag cunpack has a faster one.
type unxz struct{ *xz.Reader }

func newUnxz(in io.Reader) (io.ReadCloser, error) {
	z, err := xz.NewReader(bufio.NewReaderSize(in, readAhead), maxXZDictionary)
	return &unxz{z}, xzError(err)
}

// Read implements io.Reader.
func (u *unxz) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := u.Reader.Read(p)
	return n, xzError(err)
}

// xzError: the library says of a stream that ends too early that it makes no progress.
func xzError(err error) error {
	switch {
	case errors.Is(err, xz.ErrBuf):
		return io.ErrUnexpectedEOF
	case errors.Is(err, xz.ErrMemlimit):
		return errWindow
	}
	return err
}

// Close implements io.Closer.
func (u *unxz) Close() error { return nil }

// bunzip unpacks bzip2 with the standard library: other libraries are a little faster, and nobody keeps them. A
// build with the tag cunpack has a faster one.
type bunzip struct{ io.Reader }

func newBunzip(in io.Reader) (io.ReadCloser, error) {
	return &bunzip{bzip2.NewReader(bufio.NewReaderSize(in, readAhead))}, nil
}

// Close implements io.Closer.
func (b *bunzip) Close() error { return nil }
