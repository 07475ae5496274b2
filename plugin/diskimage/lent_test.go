package diskimage_test

import (
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

// lending is a stream of random disk that lends a few buffers, and waits for one to come back.
type lending struct {
	io.Reader
	free chan []byte
}

const lent = 6

func newLending(content io.Reader) *lending {
	l := &lending{Reader: content, free: make(chan []byte, lent)}
	for range lent {
		l.free <- make([]byte, 1<<20)
	}
	return l
}

func (l *lending) ReadBlock() ([]byte, func(), error) {
	b := <-l.free
	n, err := io.ReadFull(l.Reader, b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:n], func() { l.free <- b }, err
}

// failingTogether takes what lies in the image's head, and then fails all writes, once as many are at it as
// buffers were lent.
type failingTogether struct {
	all sync.WaitGroup
}

func (f *failingTogether) WriteAt(p []byte, off int64) (int, error) {
	if off < 8<<20 {
		return len(p), nil
	}
	f.all.Done()
	f.all.Wait()
	return 0, errBroken
}

// A target that fails while writers have all lent buffers ends Decode, though the stream waits for one.
func TestDecodeEndsWhenAllLentBuffersAreWithFailedWriters(t *testing.T) {
	const size = 32 << 20
	f := &failingTogether{}
	f.all.Add(lent)
	stream := newLending(&ones{left: size})
	r, err := diskimage.Open(t.Context(), stream, diskimage.Options{SourceBytes: size, Scratch: newScratch(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Decode(t.Context(), f, nil); !errors.Is(err, diskimage.ErrTarget) || !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the target's error", err)
	}
}

// ones yields so many bytes that are not zero.
type ones struct{ left int }

func (o *ones) Read(p []byte) (int, error) {
	if o.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), o.left)
	for i := range p[:n] {
		p[i] = 1
	}
	o.left -= n
	return n, nil
}
