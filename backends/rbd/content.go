//go:build ceph

package rbd

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/allot"
)

// piece is the most that one call of librbd writes, in bytes: an RBD object.
const piece = 4 << 20

// content is an image being written. WriteAt may be called from several goroutines.
type content struct {
	b      *Backend
	handle *handle
	size   int64

	mu      sync.Mutex
	changed sync.Cond // a write has ended
	failed  error     // of the first write that did not succeed: the content is not whole any more
	gathering

	held *allot.Count
}

// newContent writes to image, which is size bytes long; room is asked before it comes to occupy more.
func newContent(b *Backend, image *rbd.Image, size int64, room backends.Room) *content {
	c := &content{b: b, handle: newHandle(image), size: size, held: allot.New(allot.Config{UnitBytes: unit, Room: room})}
	c.changed.L = &c.mu
	return c
}

// WriteAt implements io.WriterAt. The bytes are copied, and are at the OSDs after drain: what could not be
// written is the error of a later WriteAt, and of drain.
func (c *content) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > c.size || int64(len(p)) > c.size-off {
		return 0, fmt.Errorf("write %d bytes at %d of an image of %d", len(p), off, c.size)
	}
	all := allot.Range{From: off, To: off + int64(len(p))}
	if _, err := c.held.Take(all, all); err != nil {
		return 0, err
	}
	written := 0
	for written < len(p) {
		number, at := (off+int64(written))/piece, (off+int64(written))%piece
		n := min(len(p)-written, int(piece-at))
		o, err := c.claim(number, at, int64(n))
		if err != nil {
			return written, fmt.Errorf("write %d bytes at %d: %w", n, number*piece+at, err)
		}
		copy((*o.buffer)[at:], p[written:written+n])
		c.leave(o)
		written += n
	}
	return written, nil
}

// whole is the error of a write that failed.
func (c *content) whole() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wholeLocked()
}

func (c *content) wholeLocked() error {
	if c.failed != nil && !errors.Is(c.failed, errHandleClosed) {
		return fmt.Errorf("an earlier write failed: %w", c.failed)
	}
	return c.failed
}

// HeldBytes implements backends.ImageVolumeStage, by pieces of objects.
func (c *content) HeldBytes() int64 { return c.held.Bytes() }

// close lets nothing be written any more, and closes the image once nobody uses it.
func (c *content) close() {
	c.drop()
	c.handle.close()
}

// unit is what an OSD gives out at once where that is much: its allocation unit on disks that turn.
const unit = 64 << 10
