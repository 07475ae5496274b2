package diskimage

import (
	"bufio"
	"errors"
	"io"

	"github.com/therootcompany/xz"
)

// unxz unpacks xz (The .xz File Format 1.1.0).
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
