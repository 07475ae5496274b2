//go:build cdecode && cgo

package diskimage

/*
#cgo LDFLAGS: -ldeflate -lzstd
#include <libdeflate.h>
#include <zstd.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// deflater decompresses whole DEFLATE streams (RFC 1951) with libdeflate, which checks every byte that it
// writes against the end of dst. It is used by one goroutine at a time.
type deflater struct {
	c *C.struct_libdeflate_decompressor
}

var errNoDecompressor = errors.New("libdeflate: out of memory")

// cluster implements inflater.
func (z *deflater) cluster(dst, src []byte) (used int, err error) {
	if len(dst) == 0 || len(src) == 0 {
		return 0, errClusterShort
	}
	if z.c == nil {
		if z.c = C.libdeflate_alloc_decompressor(); z.c == nil {
			return 0, errNoDecompressor
		}
		runtime.AddCleanup(z, func(c *C.struct_libdeflate_decompressor) { C.libdeflate_free_decompressor(c) }, z.c)
	}
	var in C.size_t
	// With no place for the number of bytes written, anything but exactly len(dst) is an error.
	result := C.libdeflate_deflate_decompress_ex(z.c, unsafe.Pointer(&src[0]), C.size_t(len(src)),
		unsafe.Pointer(&dst[0]), C.size_t(len(dst)), &in, nil)
	switch result {
	case C.LIBDEFLATE_SUCCESS:
		return int(in), nil
	case C.LIBDEFLATE_SHORT_OUTPUT:
		return 0, errClusterShort
	case C.LIBDEFLATE_INSUFFICIENT_SPACE:
		return 0, errClusterOverrun
	}
	return 0, fmt.Errorf("libdeflate: bad data (%d)", result)
}

// zstdInflater decompresses Zstandard frames (RFC 8878) with libzstd, in one go each: it needs no window,
// so its memory does not depend on the frame. It is used by one goroutine at a time.
type zstdInflater struct {
	c *C.ZSTD_DCtx
}

// cluster implements inflater.
func (z *zstdInflater) cluster(dst, src []byte) (used int, err error) {
	if z.c == nil {
		if z.c = C.ZSTD_createDCtx(); z.c == nil {
			return 0, errNoDecompressor
		}
		runtime.AddCleanup(z, func(c *C.ZSTD_DCtx) { C.ZSTD_freeDCtx(c) }, z.c)
	}
	for len(dst) > 0 {
		if used == len(src) {
			return 0, errShortFrame
		}
		frame := C.ZSTD_findFrameCompressedSize(unsafe.Pointer(&src[used]), C.size_t(len(src)-used))
		if C.ZSTD_isError(frame) != 0 {
			return 0, zstdError(frame)
		}
		n := C.ZSTD_decompressDCtx(z.c, unsafe.Pointer(&dst[0]), C.size_t(len(dst)), unsafe.Pointer(&src[used]), frame)
		if C.ZSTD_isError(n) != 0 {
			return 0, zstdError(n)
		}
		dst, used = dst[int(n):], used+int(frame)
	}
	return used, nil
}

func zstdError(code C.size_t) error {
	return fmt.Errorf("libzstd: %s", C.GoString(C.ZSTD_getErrorName(code)))
}
