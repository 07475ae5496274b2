package backendtest

import (
	"bytes"
	"context"
	"io"
	"maps"
)

// pageBytes is the grain of a memory backend's content.
const pageBytes = 4 << 10

// sparse is content in memory with holes. Pages are never changed once they are shared.
type sparse map[int64][]byte

func (s sparse) writeAt(p []byte, off int64) {
	for len(p) > 0 {
		page, in := off/pageBytes, off%pageBytes
		n := min(int64(len(p)), pageBytes-in)
		fresh := make([]byte, pageBytes)
		copy(fresh, s[page])
		copy(fresh[in:], p[:n])
		s[page] = fresh
		p, off = p[n:], off+n
	}
}

func (s sparse) held() int64 { return int64(len(s)) * pageBytes }

func (s sparse) clone() sparse { return maps.Clone(s) }

// content reads a sparse of some length.
type content struct {
	pages sparse
	size  int64
}

func (c content) ReadAt(p []byte, off int64) (int, error) {
	if off >= c.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	for done := 0; done < n; {
		at := off + int64(done)
		page, in := at/pageBytes, int(at%pageBytes)
		part := min(n-done, pageBytes-in)
		if data := c.pages[page]; data != nil {
			copy(p[done:done+part], data[in:])
		} else {
			clear(p[done : done+part])
		}
		done += part
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// NextData implements backends.HoleTeller, page by page.
func (c content) NextData(_ context.Context, off int64) (from, to int64, err error) {
	for page := off / pageBytes; page*pageBytes < c.size; page++ {
		if c.pages[page] != nil {
			return max(off, page*pageBytes), min(c.size, (page+1)*pageBytes), nil
		}
	}
	return c.size, c.size, nil
}

func (content) Close() error { return nil }

func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
