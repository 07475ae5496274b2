//go:build cunpack && cgo

package diskimage

/*
#cgo LDFLAGS: -llzma -lbz2
#include <bzlib.h>
#include <lzma.h>
#include <stdlib.h>

// The steps take memory and give positions by themselves, so that C keeps no pointer to Go's memory.

static lzma_stream *unxz_new(uint64_t memory) {
	lzma_stream *s = calloc(1, sizeof *s);
	if (s && lzma_stream_decoder(s, memory, LZMA_CONCATENATED) != LZMA_OK) {
		free(s);
		s = NULL;
	}
	return s;
}

static int unxz_step(lzma_stream *s, void *dst, size_t *dst_size, const void *src, size_t *src_size, int last) {
	s->next_out = dst;
	s->avail_out = *dst_size;
	s->next_in = src;
	s->avail_in = *src_size;
	lzma_ret ret = lzma_code(s, last ? LZMA_FINISH : LZMA_RUN);
	*dst_size -= s->avail_out;
	*src_size -= s->avail_in;
	s->next_out = NULL;
	s->next_in = NULL;
	return ret;
}

static void unxz_free(lzma_stream *s) {
	lzma_end(s);
	free(s);
}

static bz_stream *bunzip_new(void) {
	bz_stream *s = calloc(1, sizeof *s);
	if (s && BZ2_bzDecompressInit(s, 0, 0) != BZ_OK) {
		free(s);
		s = NULL;
	}
	return s;
}

static int bunzip_again(bz_stream *s) {
	BZ2_bzDecompressEnd(s);
	return BZ2_bzDecompressInit(s, 0, 0);
}

static int bunzip_step(bz_stream *s, void *dst, unsigned *dst_size, void *src, unsigned *src_size) {
	s->next_out = dst;
	s->avail_out = *dst_size;
	s->next_in = src;
	s->avail_in = *src_size;
	int ret = BZ2_bzDecompress(s);
	*dst_size -= s->avail_out;
	*src_size -= s->avail_in;
	s->next_out = NULL;
	s->next_in = NULL;
	return ret;
}

static void bunzip_free(bz_stream *s) {
	BZ2_bzDecompressEnd(s);
	free(s);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// stepper is a decompressor of C's.
type stepper interface {
	// step unpacks src into dst, as far as either goes. last: nothing follows src. ended: a member has ended.
	step(dst, src []byte, last bool) (n, used int, ended bool, err error)
	free()
}

// stepping reads a stream through a stepper.
type stepping struct {
	stepper
	in    io.Reader
	buf   []byte
	rest  []byte // of buf, not unpacked yet
	ended bool   // a member has ended, and none begun
	err   error  // why in has ended
	freed bool
}

// Read implements io.Reader.
func (s *stepping) Read(p []byte) (int, error) {
	if len(p) == 0 || s.freed {
		return 0, nil
	}
	for {
		if len(s.rest) == 0 && s.err == nil {
			var n int
			n, s.err = s.in.Read(s.buf)
			s.rest = s.buf[:n]
		}
		last := errors.Is(s.err, io.EOF)
		switch {
		case len(s.rest) > 0 || last && !s.ended:
		case s.err != nil:
			return 0, s.err
		default:
			continue
		}
		n, used, ended, err := s.step(p, s.rest, last)
		s.rest, s.ended = s.rest[used:], ended
		switch {
		case n > 0 || err != nil:
			return n, err
		case used == 0 && last && !ended:
			return 0, io.ErrUnexpectedEOF
		}
	}
}

// Close implements io.Closer.
func (s *stepping) Close() error {
	if !s.freed {
		s.freed = true
		s.free()
	}
	return nil
}

func pointer(b []byte) unsafe.Pointer {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Pointer(&b[0])
}

var errNoUnpacker = errors.New("out of memory")

// unxz unpacks xz (The .xz File Format 1.1.0) with liblzma, in one thread: the decoder of several had a fault
// that hostile images reach (CVE-2025-31115).
type unxz struct{ c *C.lzma_stream }

// xzOverhead is what the decoder takes beside its dictionary, and less than to the next larger dictionary.
const xzOverhead = 16 << 20

func newUnxz(in io.Reader) (io.ReadCloser, error) {
	c := C.unxz_new(maxXZDictionary + xzOverhead)
	if c == nil {
		return nil, errNoUnpacker
	}
	return &stepping{stepper: &unxz{c}, in: in, buf: make([]byte, readAhead)}, nil
}

func (u *unxz) step(dst, src []byte, last bool) (n, used int, ended bool, err error) {
	out, in, finish := C.size_t(len(dst)), C.size_t(len(src)), C.int(0)
	if last {
		finish = 1
	}
	switch ret := C.unxz_step(u.c, pointer(dst), &out, pointer(src), &in, finish); ret {
	case C.LZMA_OK, C.LZMA_BUF_ERROR:
	case C.LZMA_STREAM_END:
		ended = true
	case C.LZMA_MEMLIMIT_ERROR, C.LZMA_MEM_ERROR:
		err = errWindow
	default:
		err = fmt.Errorf("liblzma: bad data (%d)", ret)
	}
	return int(out), int(in), ended, err
}

func (u *unxz) free() { C.unxz_free(u.c) }

// bunzip unpacks bzip2 with libbz2.
type bunzip struct {
	c     *C.bz_stream
	ended bool
}

func newBunzip(in io.Reader) (io.ReadCloser, error) {
	c := C.bunzip_new()
	if c == nil {
		return nil, errNoUnpacker
	}
	return &stepping{stepper: &bunzip{c: c}, in: in, buf: make([]byte, readAhead)}, nil
}

func (b *bunzip) step(dst, src []byte, _ bool) (n, used int, ended bool, err error) {
	if b.ended {
		if C.bunzip_again(b.c) != C.BZ_OK {
			return 0, 0, false, errNoUnpacker
		}
		b.ended = false
	}
	out, in := C.uint(len(dst)), C.uint(len(src))
	switch ret := C.bunzip_step(b.c, pointer(dst), &out, pointer(src), &in); ret {
	case C.BZ_OK:
	case C.BZ_STREAM_END:
		b.ended = true
	default:
		err = fmt.Errorf("libbz2: bad data (%d)", ret)
	}
	return int(out), int(in), b.ended, err
}

func (b *bunzip) free() { C.bunzip_free(b.c) }
