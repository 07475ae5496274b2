package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	firstHead = 64 << 10 // covers every signature, ISO's at 32 KiB too
	maxHead   = 4 << 20  // the most of a stream that inspection holds
)

// head gives bounded random access to the beginning of an image, and to all of it when it is a file.
type head struct {
	file   io.ReaderAt // nil for a stream
	stream io.Reader
	buf    []byte // of the stream, from its start
	size   int64  // -1 while unknown
}

func fileHead(file io.ReaderAt, size int64) *head { return &head{file: file, size: size} }

// streamHead reads the first bytes of stream. announced is its size, or -1.
func streamHead(stream io.Reader, announced int64) (*head, error) {
	h := &head{stream: stream, size: announced}
	return h, h.fill(firstHead)
}

// fill makes the first n bytes of the stream available, or all where it is shorter.
func (h *head) fill(n int) error {
	if len(h.buf) >= n || h.ended() {
		return nil
	}
	have := len(h.buf)
	h.buf = append(h.buf, make([]byte, n-have)...)
	got, ended, err := readFull(h.stream, h.buf[have:])
	h.buf = h.buf[:have+got]
	total := int64(len(h.buf))
	switch {
	case err != nil:
		return sourceError(total, err)
	case h.size >= 0 && total > h.size:
		return sourceError(h.size, ErrSourceLonger)
	case ended && total < h.size:
		return sourceError(total, io.ErrUnexpectedEOF)
	case ended:
		h.size = total
		h.stream = bytes.NewReader(nil)
	}
	return nil
}

// ended reports whether buf is the whole image.
func (h *head) ended() bool {
	return h.file == nil && h.size >= 0 && int64(len(h.buf)) >= h.size
}

// limit is the size of the image where it is known, else the largest there can be.
func (h *head) limit() int64 {
	if h.size < 0 {
		return math.MaxInt64
	}
	return h.size
}

// at returns n bytes at off, fewer where the image ends before. Of a stream only the first 4 MiB can be
// had: ok is false beyond. The result is valid until the next call.
func (h *head) at(off int64, n int) (b []byte, ok bool, err error) {
	switch {
	case off < 0 || n < 0 || n > maxHead:
		return nil, false, nil
	case h.file != nil:
		return h.fileAt(off, n)
	case off > maxHead-int64(n):
		return nil, false, nil
	}
	if err := h.fill(int(off) + n); err != nil {
		return nil, false, err
	}
	lo, hi := min(int(off), len(h.buf)), min(int(off)+n, len(h.buf))
	return h.buf[lo:hi], true, nil
}

func (h *head) fileAt(off int64, n int) ([]byte, bool, error) {
	if off >= h.size {
		return nil, true, nil
	}
	b := make([]byte, min(int64(n), h.size-off))
	if err := readAt(h.file, b, off); err != nil {
		return nil, false, sourceError(off, err)
	}
	return b, true, nil
}

// has reports whether the image has exactly these bytes at off.
func (h *head) has(off int64, magic string) (bool, error) {
	b, _, err := h.at(off, len(magic))
	return string(b) == magic, err
}

// tail returns the last n bytes, or all where there are fewer; nil where they have not been read yet.
func (h *head) tail(n int) ([]byte, error) {
	if h.file == nil {
		if !h.ended() {
			return nil, nil
		}
		return h.buf[max(0, len(h.buf)-n):], nil
	}
	b, _, err := h.fileAt(max(0, h.size-int64(n)), n)
	return b, err
}

// rest is the whole stream again: what was read, then what was not, by itself where it lends its blocks.
func (h *head) rest() (io.Reader, BlockReader) {
	read := bytes.NewReader(h.buf)
	if lender, ok := h.stream.(BlockReader); ok {
		return read, lender
	}
	return io.MultiReader(read, h.stream), nil
}

// readFull reads until p is full or the stream has ended in order. An error is the stream's own.
func readFull(r io.Reader, p []byte) (n int, ended bool, err error) {
	for idle := 0; n < len(p); {
		m, err := r.Read(p[n:])
		if m < 0 || m > len(p)-n {
			return n, false, errors.New("reader returned an impossible count")
		}
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
		if idle++; m > 0 {
			idle = 0
		}
		if idle > 100 {
			return n, false, io.ErrNoProgress
		}
	}
	return n, false, nil
}

// readAt reads all of p at off; the end of the file before that is io.ErrUnexpectedEOF.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// sourceError wraps an error of the stream. A compressed one may have refused itself.
func sourceError(at int64, err error) error {
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrSource) {
		return err
	}
	return fmt.Errorf("%w: read at byte %d: %w", ErrSource, at, err)
}
