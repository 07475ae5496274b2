//go:build ceph

package rbd

import (
	"context"
	"errors"
	"sync"

	"github.com/ceph/go-ceph/rbd"
)

var errHandleClosed = errors.New("the image is closed")

// handle is an open image that is closed once nobody uses it any more: a call that was given up may
// still be in it.
type handle struct {
	image *rbd.Image

	mu      sync.Mutex
	users   int
	closing bool
	closed  chan struct{} // closed when the image is
}

func newHandle(image *rbd.Image) *handle { return &handle{image: image, closed: make(chan struct{})} }

// use runs f with the image, unless it is being closed.
func (h *handle) use(f func(image *rbd.Image) error) error {
	h.mu.Lock()
	if h.closing {
		h.mu.Unlock()
		return errHandleClosed
	}
	h.users++
	h.mu.Unlock()
	defer h.leave()
	return f(h.image)
}

func (h *handle) leave() {
	h.mu.Lock()
	h.users--
	last := h.closing && h.users == 0
	h.mu.Unlock()
	if last {
		h.end()
	}
}

// close lets nobody in any more, and closes the image now or when its last user leaves.
func (h *handle) close() {
	h.mu.Lock()
	first := !h.closing
	h.closing = true
	idle := h.users == 0
	h.mu.Unlock()
	if first && idle {
		h.end()
	}
}

// gone waits until the image is closed, or ctx ends.
func (h *handle) gone(ctx context.Context) {
	select {
	case <-h.closed:
	case <-ctx.Done():
	}
}

// isClosed tells whether it is: nothing is written through it from then on.
func (h *handle) isClosed() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

func (h *handle) end() {
	_ = h.image.Close() // what was written is flushed before it counts
	close(h.closed)
}
