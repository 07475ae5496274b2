//go:build ceph

package rbd

import (
	"context"
	"fmt"
	"math/bits"
	"sync"

	"github.com/ceph/go-ceph/rbd"
)

// piece is the most that one call of librbd writes, in bytes: an RBD object. Between 1 and 4 MiB makes
// no difference, 64 KiB take twice as long.
const piece = 4 << 20

// content is an image being written. WriteAt may be called from several goroutines.
type content struct {
	b      *Backend
	handle *handle
	size   int64

	mu     sync.Mutex
	failed error // of the first write that did not succeed: the content is not whole any more
	held   pieces
}

func newContent(b *Backend, image *rbd.Image, size int64) *content {
	return &content{b: b, handle: newHandle(image), size: size}
}

// WriteAt implements io.WriterAt. The bytes are copied first: a call that is given up keeps the copy.
func (c *content) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > c.size || int64(len(p)) > c.size-off {
		return 0, fmt.Errorf("write %d bytes at %d of an image of %d", len(p), off, c.size)
	}
	if err := c.whole(); err != nil {
		return 0, err
	}
	written := 0
	for written < len(p) {
		at := off + int64(written)
		n := min(len(p)-written, int(piece-at%piece))
		if err := c.write(p[written:written+n], at); err != nil {
			c.fail(err)
			return written, fmt.Errorf("write %d bytes at %d: %w", n, at, err)
		}
		written += n
	}
	return written, nil
}

// buffers are those of calls; each is piece long.
var buffers = sync.Pool{New: func() any { b := make([]byte, piece); return &b }}

func (c *content) write(p []byte, at int64) error {
	buffer := buffers.Get().(*[]byte)
	own := (*buffer)[:copy(*buffer, p)]
	return c.b.try(context.Background(), func(*work) error {
		defer buffers.Put(buffer)
		err := c.handle.use(func(image *rbd.Image) error {
			_, err := image.WriteAt(own, at)
			return err
		})
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.held.add(at, int64(len(own)))
		}
		return err
	})
}

func (c *content) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
}

// whole is the error of a write that failed.
func (c *content) whole() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return fmt.Errorf("an earlier write failed: %w", c.failed)
	}
	return nil
}

// HeldBytes implements backends.ImageVolumeStage.
func (c *content) HeldBytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held.bytes()
}

func (c *content) close() { c.handle.close() }

// pieces counts which of an image's pieces of 64 KiB, a large allocation unit of an OSD, were written.
type pieces []uint64

const unit = 64 << 10

func (p *pieces) add(off, n int64) {
	if n <= 0 {
		return
	}
	for u := off / unit; u <= (off+n-1)/unit; u++ {
		word := int(u / 64)
		for word >= len(*p) {
			*p = append(*p, 0)
		}
		(*p)[word] |= 1 << (u % 64)
	}
}

func (p pieces) bytes() int64 {
	n := 0
	for _, word := range p {
		n += bits.OnesCount64(word)
	}
	return int64(n) * unit
}
