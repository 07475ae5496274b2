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
	inside *unwrapper   // what head has was compressed; nil: it was not
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

// Open reads the first bytes of stream, at most 4 MiB, and judges the headers in them; of a stream that is
// compressed as a whole, the first of what is inside. A *Refusal is
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
	if err := r.inspect(); err != nil {
		r.endInside()
		return nil, err
	}
	return r, nil
}

// inspect judges what is in the head, inside of its compression.
func (r *Reader) inspect() error {
	wrapper, err := wrapperIn(r.head, r.opts)
	if err != nil {
		return err
	}
	if wrapper != "" {
		if err := r.unwrap(wrapper); err != nil {
			return err
		}
	}
	if r.info, err = inspect(r.head, r.opts); err != nil {
		return insideOf(err, wrapper)
	}
	r.info.Compression = wrapper
	if r.opts.rawForSure() {
		r.info.AsDeclared = r.looksOtherwise()
	}
	switch r.info.Format {
	case Raw, ISO:
		return nil
	case QCOW2:
		r.header, err = readQCOW2Header(r.head)
		return err
	default:
		return insideOf(forFormat(refuse(RuleNoDecoder, "disk_format", r.info.Format), r.info.Format), wrapper)
	}
}

// looksOtherwise: bytes that are the disk for sure look like something else.
func (r *Reader) looksOtherwise() bool {
	wrapper, err := wrapperOf(r.head)
	return wrapper != "" || err != nil || refuseNoDisk(r.head) != nil
}

// wrapperIn is how the image is compressed, unless its bytes are the disk for sure. A Refusal: in a way that
// is not accepted.
func wrapperIn(h *head, opts Options) (Compression, error) {
	if opts.rawForSure() {
		return "", nil
	}
	wrapper, err := wrapperOf(h)
	if wrapper == "" || err != nil {
		return "", err
	}
	return wrapper, checkWrapper(wrapper, opts)
}

// unwrap puts what is inside of the stream in its place.
func (r *Reader) unwrap(c Compression) error {
	var err error
	if r.inside, err = unwrap(r.head, c, r.opts); err != nil {
		return err
	}
	r.opts.SourceBytes = -1 // of what is inside
	if r.head, err = streamHead(r.inside, -1); err != nil {
		return err
	}
	switch nested, err := wrapperOf(r.head); {
	case err != nil:
		return err
	case nested != "":
		return refuse(RuleNested, "compression", fmt.Sprintf("%s inside of %s", nested, c))
	}
	return nil
}

// endInside frees what unpacking holds. Nothing reads any more.
func (r *Reader) endInside() {
	if r.inside != nil {
		r.inside.end(errClosed)
	}
}

// Bound lets a disk whose size is not known yet have at most that many bytes. It is called before Decode.
func (r *Reader) Bound(maxVirtualBytes int64) {
	r.opts.MaxVirtualBytes = maxVirtualBytes
	if r.inside != nil && r.header == nil && maxVirtualBytes > 0 {
		r.inside.ratio = 0 // this bound is the better one
	}
}

// Info is what inspection found.
func (r *Reader) Info() Info { return r.info }

// Decode writes the disk's content to dst, which must read as zeroes wherever nothing was written, and
// always consumes the stream to its end, so that a digest over it is complete. Writes are 1 MiB
// pieces in ascending order where the image allows, from several goroutines at once; zeroes are not
// written, nor anything beyond the disk's size. progress may be nil; it is called with the sums so far (what
// is read of the stream, before it is unpacked), from one goroutine at a time.
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
	defer r.endInside()
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
	switch {
	case r.cancel != nil:
		r.cancel(errClosed)
	case !r.started:
		r.endInside()
	}
	r.started = true
	return nil
}
