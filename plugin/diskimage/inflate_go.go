//go:build !cdecode || !cgo

package diskimage

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
	kzstd "github.com/klauspost/compress/zstd"
)

// deflater decompresses whole DEFLATE streams (RFC 1951). It is used by one goroutine at a time. A build
// with the tag cdecode has a faster one.
type deflater struct {
	src    bytes.Reader
	stream io.ReadCloser
}

// cluster implements inflater.
func (z *deflater) cluster(dst, src []byte) (used int, err error) {
	z.src.Reset(src)
	if z.stream == nil {
		z.stream = flate.NewReader(&z.src)
	} else if err := z.stream.(flate.Resetter).Reset(&z.src, nil); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(z.stream, dst); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return 0, errClusterShort
	} else if err != nil {
		return 0, err
	}
	var more [1]byte
	switch _, err := io.ReadFull(z.stream, more[:]); {
	case err == nil:
		return 0, errClusterOverrun
	case !errors.Is(err, io.EOF):
		return 0, err
	}
	return len(src) - z.src.Len(), nil
}

// zstdInflater decompresses Zstandard frames (RFC 8878). It is used by one goroutine at a time.
type zstdInflater struct {
	decoder *kzstd.Decoder
}

func (z *zstdInflater) cluster(dst, src []byte) (used int, err error) {
	if z.decoder == nil {
		d, err := kzstd.NewReader(nil, kzstd.WithDecoderConcurrency(1), kzstd.WithDecodeAllCapLimit(true),
			kzstd.WithDecoderMaxMemory(64<<20), kzstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return 0, err
		}
		z.decoder = d
	}
	for len(dst) > 0 {
		n, err := zstdFrame(src[used:])
		if err != nil {
			return 0, err
		}
		out, err := z.decoder.DecodeAll(src[used:used+n], dst[:0:len(dst)])
		if err != nil {
			return 0, err
		}
		dst, used = dst[len(out):], used+n
	}
	return used, nil
}

// zstdFrame returns the length of the first frame in src (RFC 8878, section 3.1).
func zstdFrame(src []byte) (int, error) {
	var h kzstd.Header
	if err := h.Decode(src); err != nil {
		return 0, err
	}
	if h.Skippable {
		n := int64(h.HeaderSize) + int64(h.SkippableSize)
		if n > int64(len(src)) {
			return 0, errShortFrame
		}
		return int(n), nil
	}
	at := h.HeaderSize
	for last := false; !last; {
		if at+3 > len(src) {
			return 0, errShortFrame
		}
		block := int(src[at]) | int(src[at+1])<<8 | int(src[at+2])<<16
		last = block&1 != 0
		at += 3
		if block>>1&3 == 1 { // one byte, repeated
			at++
		} else {
			at += block >> 3
		}
	}
	if h.HasCheckSum {
		at += 4
	}
	if at > len(src) {
		return 0, errShortFrame
	}
	return at, nil
}
