//go:build cdecode && cgo

package diskimage

/*
#cgo LDFLAGS: -lzstd
#include <zstd.h>
#include <zstd_errors.h>

// unzstd_step takes positions by themselves, so that no memory of C's holds a pointer to Go's.
static size_t unzstd_step(ZSTD_DCtx *c, void *dst, size_t dst_size, size_t *dst_pos,
                          const void *src, size_t src_size, size_t *src_pos) {
	ZSTD_outBuffer out = {dst, dst_size, 0};
	ZSTD_inBuffer in = {src, src_size, 0};
	size_t left = ZSTD_decompressStream(c, &out, &in);
	*dst_pos = out.pos;
	*src_pos = in.pos;
	return left;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// unzstd unpacks Zstandard frames (RFC 8878) with libzstd.
type unzstd struct {
	c    *C.ZSTD_DCtx
	in   io.Reader
	buf  []byte
	rest []byte // of buf, not unpacked yet
	left bool   // a frame has begun and not ended
	err  error  // why in has ended
}

func newUnzstd(in io.Reader) (io.ReadCloser, error) {
	u := &unzstd{c: C.ZSTD_createDCtx(), in: in, buf: make([]byte, readAhead)}
	if u.c == nil {
		return nil, errNoDecompressor
	}
	if code := C.ZSTD_DCtx_setParameter(u.c, C.ZSTD_d_windowLogMax, maxZstdWindowBits); C.ZSTD_isError(code) != 0 {
		return nil, errors.Join(zstdError(code), u.Close())
	}
	return u, nil
}

// Read implements io.Reader.
func (u *unzstd) Read(p []byte) (int, error) {
	if len(p) == 0 || u.c == nil {
		return 0, nil
	}
	for {
		if len(u.rest) == 0 && u.err == nil {
			var n int
			n, u.err = u.in.Read(u.buf)
			u.rest = u.buf[:n]
		}
		switch {
		case len(u.rest) > 0 || u.left && errors.Is(u.err, io.EOF):
		case u.err != nil:
			return 0, u.err
		default:
			continue
		}
		n, used, err := u.step(p)
		if n > 0 || err != nil {
			return n, err
		}
		if used == 0 && u.err != nil {
			if errors.Is(u.err, io.EOF) {
				return 0, io.ErrUnexpectedEOF
			}
			return 0, u.err
		}
	}
}

// step unpacks what there is into p.
func (u *unzstd) step(p []byte) (n, used int, err error) {
	var out, in C.size_t
	var src unsafe.Pointer
	if len(u.rest) > 0 {
		src = unsafe.Pointer(&u.rest[0])
	}
	left := C.unzstd_step(u.c, unsafe.Pointer(&p[0]), C.size_t(len(p)), &out, src, C.size_t(len(u.rest)), &in)
	u.rest = u.rest[int(in):]
	switch C.ZSTD_getErrorCode(left) {
	case C.ZSTD_error_no_error:
	case C.ZSTD_error_frameParameter_windowTooLarge, C.ZSTD_error_memory_allocation:
		return int(out), int(in), fmt.Errorf("%w: %w", errWindow, zstdError(left))
	default:
		return int(out), int(in), zstdError(left)
	}
	if out > 0 || in > 0 {
		u.left = left != 0
	}
	return int(out), int(in), nil
}

// Close implements io.Closer.
func (u *unzstd) Close() error {
	if u.c != nil {
		C.ZSTD_freeDCtx(u.c)
		u.c = nil
	}
	return nil
}
