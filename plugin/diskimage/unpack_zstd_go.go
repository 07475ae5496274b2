//go:build !cdecode || !cgo

package diskimage

import (
	"errors"
	"io"

	kzstd "github.com/klauspost/compress/zstd"
)

// unzstd unpacks Zstandard frames (RFC 8878). A build with the tag cdecode has a faster one.
type unzstd struct{ *kzstd.Decoder }

func newUnzstd(in io.Reader) (io.ReadCloser, error) {
	d, err := kzstd.NewReader(in, kzstd.WithDecoderConcurrency(1), kzstd.WithDecoderLowmem(true),
		kzstd.WithDecoderMaxMemory(1<<maxZstdWindowBits), kzstd.WithDecoderMaxWindow(1<<maxZstdWindowBits))
	if err != nil {
		return nil, err
	}
	return &unzstd{d}, nil
}

// Read implements io.Reader.
func (u *unzstd) Read(p []byte) (int, error) {
	n, err := u.Decoder.Read(p)
	if errors.Is(err, kzstd.ErrWindowSizeExceeded) || errors.Is(err, kzstd.ErrDecoderSizeExceeded) {
		err = errWindow
	}
	return n, err
}

// Close implements io.Closer.
func (u *unzstd) Close() error {
	u.Decoder.Close()
	return nil
}
