package plugin

import (
	"context"
	"fmt"
	"io"

	"github.com/clonecache/clonecache/backends"
)

// nextData is the first range of a content at or behind off that may hold something else than zeroes, up to
// end; both are end where there is none. All is data where the content tells no holes.
func nextData(ctx context.Context, content io.ReaderAt, off, end int64) (from, to int64, err error) {
	teller, ok := content.(backends.HoleTeller)
	if !ok || off >= end {
		return min(off, end), end, nil
	}
	from, to, err = teller.NextData(ctx, off)
	return min(from, end), min(to, end), err
}

// dataSum is readSum of the size bytes of a content, of which it reads what lies in no hole.
func dataSum(ctx context.Context, content io.ReaderAt, size int64) (string, error) {
	var sum contentSum
	buffer := make([]byte, 1<<20) // a multiple of sumBlock
	for done := int64(0); done < size; {
		from, to, err := nextData(ctx, content, done, size)
		if err != nil {
			return "", fmt.Errorf("look for data behind byte %d: %w", done, err)
		}
		off := max(done, from/sumBlock*sumBlock)
		for done = min(size, (to+sumBlock-1)/sumBlock*sumBlock); off < done; {
			if err := ctx.Err(); err != nil {
				return "", err
			}
			b := buffer[:min(int64(len(buffer)), done-off)]
			if _, err := io.ReadFull(io.NewSectionReader(content, off, int64(len(b))), b); err != nil {
				return "", fmt.Errorf("read at byte %d: %w", off, err)
			}
			sum.add(b, off, size)
			off += int64(len(b))
		}
	}
	return sum.String(), nil
}

// sparseReader reads a content in order. Holes are zeroes that are not read.
type sparseReader struct {
	ctx      context.Context // covers the reading
	content  io.ReaderAt
	off, end int64
	from, to int64 // the data that ends behind off
}

// newSparseReader reads [off, end) of a content.
func newSparseReader(ctx context.Context, content io.ReaderAt, off, end int64) *sparseReader {
	return &sparseReader{ctx: ctx, content: content, off: off, end: end, from: off, to: off}
}

// Read implements io.Reader.
func (r *sparseReader) Read(p []byte) (n int, err error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.off >= r.end {
		return 0, io.EOF
	}
	if r.off >= r.to {
		if r.from, r.to, err = nextData(r.ctx, r.content, r.off, r.end); err != nil {
			return 0, err
		}
	}
	p = p[:min(int64(len(p)), r.end-r.off)]
	if hole := r.from - r.off; hole > 0 {
		n = int(min(int64(len(p)), hole))
		clear(p[:n])
	} else {
		n, err = r.content.ReadAt(p[:min(int64(len(p)), r.to-r.off)], r.off)
	}
	r.off += int64(n)
	if n > 0 {
		return n, nil
	}
	if err == nil || err == io.EOF { //nolint:errorlint // as io.ReaderAt returns it
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}
