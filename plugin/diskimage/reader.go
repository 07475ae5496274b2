package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Reader is an image whose headers have passed inspection and whose content is still to be decoded.
type Reader struct {
	info   Info
	opts   Options
	head   *head
	header *qcow2Header // nil for raw

	mu      sync.Mutex
	started bool
	cancel  context.CancelCauseFunc // of a running Decode
}

// BlockReader is a stream that lends its own buffers, which saves a copy of every byte. ReadBlock returns
// the bytes that come next, at most 1 MiB and not changed by anybody until release, which is called once
// and from any goroutine; a few blocks are held at a time, and the stream must have memory for at least
// four. At the end it is io.EOF, without bytes.
type BlockReader interface {
	io.Reader
	ReadBlock() (p []byte, release func(), err error)
}

var (
	errDecodedOnce = errors.New("image was decoded already")
	errClosed      = errors.New("image reader was closed")
)

// Open reads the first bytes of stream, at most 4 MiB, and judges the headers in them. A *Refusal is
// returned for an image that must not be cached. What only shows further on ends Decode. The Reader owns
// stream's remaining bytes, but does not close it. Read of stream must return when ctx is done.
func Open(ctx context.Context, stream io.Reader, opts Options) (*Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.SourceBytes < 0 {
		opts.SourceBytes = -1
	}
	h, err := streamHead(stream, opts.SourceBytes)
	if err != nil {
		return nil, err
	}
	r := &Reader{opts: opts, head: h}
	if r.info, err = inspect(h, opts); err != nil {
		return nil, err
	}
	switch r.info.Format {
	case Raw:
	case QCOW2:
		r.header, err = readQCOW2Header(h)
	default:
		err = refuse(RuleNoDecoder, "disk_format", r.info.Format)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Info is what inspection found.
func (r *Reader) Info() Info { return r.info }

// Decode writes the disk's content to dst, which must read as zeroes wherever nothing was written, and
// always consumes the stream to its end, so that a digest over it is complete. Writes are 1 MiB
// pieces in ascending order where the image allows, from several goroutines at once; zeroes are not
// written, nor anything beyond the disk's size. progress may be nil; it is called with the sums so far,
// from one goroutine at a time.
//
// Errors: a *Refusal for damage that the headers did not show, ErrSource, ErrTarget, ErrScratchFull, or
// ctx's. dst is then in an unknown state. All goroutines have ended when Decode returns, which is soon
// after ctx is done, provided that the stream's Read returns then. It can be called once.
func (r *Reader) Decode(ctx context.Context, dst io.WriterAt, progress func(read, written int64)) (Stats, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := r.start(cancel); err != nil {
		return Stats{}, err
	}
	d := newDecoding(r, dst, progress)
	err := d.run(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return d.stats(), err
}

func (r *Reader) start(cancel context.CancelCauseFunc) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started {
		return errDecodedOnce
	}
	r.started, r.cancel = true, cancel
	return nil
}

// Close ends a Decode that is running; that frees the scratch space before it returns. It may be called at
// any time, and more than once.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel(errClosed)
	}
	r.started = true
	return nil
}
