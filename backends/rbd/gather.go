//go:build ceph

package rbd

import (
	"context"
	"math/bits"
	"slices"
	"sync"

	"github.com/ceph/go-ceph/rbd"
)

// What is written comes in pieces of 64 KiB to 1 MiB, and not quite in the order of the disk: qemu-img
// writes its images from several threads. Each operation costs an OSD as much processor time as hundreds
// of KiB of data, so what belongs to one RBD object is gathered in memory, and written once the object is
// whole, or when memory for others is needed. Bounds, per image being written:
const (
	mostBuffers   = 12 // each piece long: objects that are gathered, or on their way to the OSDs
	mostGathering = 6
)

// object is what was written to one RBD object and is not at the OSDs yet. Its content's mutex guards it,
// but for what buffer holds: those who have it write to it.
type object struct {
	number int64
	buffer *[]byte
	spans  spans
	users  int     // that copy into the buffer
	sealed bool    // nobody else begins to
	before *object // has the same number, and is to be written first
	done   chan struct{}
}

// gathering is the objects that are gathered and those on their way. The zero value is ready. The mutex of
// the content that it belongs to guards it.
type gathering struct {
	open    []*object         // oldest first
	last    map[int64]*object // on their way, by number
	buffers int               // in use
	numbers objectSet         // of all that ever went to the OSDs
}

// claim returns the object of that number, with n bytes at that place in it for the caller to fill in; leave ends that.
// It waits for memory, as long as writes take.
func (c *content) claim(number, at, n int64) (*object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.wholeLocked(); err != nil {
			return nil, err
		}
		o := c.object(number)
		if o != nil {
			o.users++
			o.spans.add(at, at+n)
			return o, nil
		}
		c.changed.Wait()
	}
}

// object is the one of that number that is gathered; nil: there is no memory for it now.
func (c *content) object(number int64) *object {
	if at := slices.IndexFunc(c.open, func(o *object) bool { return o.number == number }); at >= 0 {
		return c.open[at]
	}
	if c.buffers == mostBuffers {
		return nil
	}
	if len(c.open) == mostGathering {
		c.seal(c.open[0])
	}
	o := &object{number: number, buffer: buffers.Get().(*[]byte), done: make(chan struct{})}
	c.open = append(c.open, o)
	c.buffers++
	return o
}

// leave ends a claim. The object goes to the OSDs when it is whole.
func (c *content) leave(o *object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.users--
	switch {
	case o.sealed && o.users == 0:
		go c.write(o)
	case !o.sealed && o.users == 0 && o.spans.cover(min(piece, c.size-o.number*piece)):
		c.seal(o)
	}
}

// seal sends an object to the OSDs once nobody copies into it any more. What is written to that part of the
// image from now on comes behind it.
func (c *content) seal(o *object) {
	if c.last == nil {
		c.last = map[int64]*object{}
	}
	o.sealed = true
	c.numbers.add(o.number)
	o.before, c.last[o.number] = c.last[o.number], o
	c.open = slices.DeleteFunc(c.open, func(other *object) bool { return other == o })
	if o.users == 0 {
		go c.write(o)
	}
}

// write writes an object, unless an earlier write has failed. The goroutines that wait for it are told.
func (c *content) write(o *object) {
	if o.before != nil {
		<-o.before.done
		o.before = nil
	}
	err := c.whole()
	if err == nil {
		err = c.b.try(context.Background(), func(*work) error {
			defer buffers.Put(o.buffer) // a call that is given up keeps it
			return c.handle.use(func(image *rbd.Image) error { return o.writeTo(image) })
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.failed == nil {
		c.failed = err
	}
	if c.last[o.number] == o {
		delete(c.last, o.number)
	}
	c.buffers--
	close(o.done)
	c.changed.Broadcast()
}

// writeTo writes what is there of the object.
func (o *object) writeTo(image *rbd.Image) error {
	for _, r := range o.spans {
		if _, err := image.WriteAt((*o.buffer)[r.from:r.to], o.number*piece+r.from); err != nil {
			return err
		}
	}
	return nil
}

// drain sends all that is gathered to the OSDs and waits until it is there, or has failed: see whole. Nothing
// may be written meanwhile. An error is ctx's.
func (c *content) drain(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.open) > 0 {
		c.seal(c.open[0])
	}
	for c.buffers > 0 && ctx.Err() == nil {
		c.changed.Wait()
	}
	return ctx.Err()
}

// drop forgets what is gathered, and lets nothing be written any more.
func (c *content) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = errHandleClosed
	}
	for len(c.open) > 0 {
		c.seal(c.open[0])
	}
}

// sent are the numbers of the objects that went to the OSDs, in order.
func (c *content) sent() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.numbers.all()
}

// objectSet is a set of objects' numbers, a bit for each: 32 KiB for a TiB.
type objectSet []uint64

func (s *objectSet) add(number int64) {
	at := int(number / 64)
	if missing := at + 1 - len(*s); missing > 0 {
		*s = append(*s, make([]uint64, missing)...)
	}
	(*s)[at] |= 1 << (number % 64)
}

func (s objectSet) all() []int64 {
	var all []int64
	for at, word := range s {
		for ; word != 0; word &= word - 1 {
			all = append(all, int64(at)*64+int64(bits.TrailingZeros64(word)))
		}
	}
	return all
}

// buffers are those of objects; each is piece long.
var buffers = sync.Pool{New: func() any { b := make([]byte, piece); return &b }}

// spans are ranges, in order and apart from each other.
type spans []span

type span struct{ from, to int64 }

// add unites a range with those that it touches.
func (s *spans) add(from, to int64) {
	first, _ := slices.BinarySearchFunc(*s, from, func(x span, from int64) int { return int(x.to - from) })
	last := first
	for ; last < len(*s) && (*s)[last].from <= to; last++ {
		from, to = min(from, (*s)[last].from), max(to, (*s)[last].to)
	}
	*s = slices.Replace(*s, first, last, span{from, to})
}

// cover tells whether they are all of the first n.
func (s spans) cover(n int64) bool { return len(s) == 1 && s[0] == span{0, n} }
