package imagesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/zeebo/xxh3"
)

// minProgress is how many bytes a request must bring for the next failure to count as a first one. One
// byte each would let a server keep us for ever.
const minProgress = 64 << 10

// Download is an image's bytes on a server, which may be asked for again from an offset on. Its methods
// are called one at a time.
type Download interface {
	// From asks for the bytes from offset on, all of them, and checks that the answer is about the image
	// that was opened. total is the image's size, -1 unknown. What is ErrUnavailable is tried again.
	// The error is errFromStart where the bytes are only to be had from the first one on.
	From(ctx context.Context, offset int64) (body *HTTPAnswer, total int64, err error)
	// MayResume tells whether a change of the image would show after it was resumed at an offset.
	MayResume() bool
}

// errFromStart: the server gives an image from its first byte on only. It never leaves the package.
var errFromStart = errors.New("only to be had from its beginning")

// Retries say how often a download goes on after it broke off.
type Retries struct {
	Most    int           // in a row that brought nothing
	Backoff time.Duration // before the first; it grows to 16 times that, give or take half
}

func (r Retries) waits() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: r.Backoff, MaxInterval: 16 * r.Backoff, Multiplier: 2, RandomizationFactor: 0.5,
	}
}

// stream is a download that is resumed where it broke off.
type stream struct {
	ctx      context.Context // covers the reading, as Source.Open says
	cancel   context.CancelFunc
	download Download
	retries  Retries
	size     int64 // -1 unknown
	offset   int64
	failed   error        // what Read returns from now on
	sum      *xxh3.Hasher // of what was read, for restart
	restarts int

	tries int   // in a row that brought nothing
	mark  int64 // offset at which tries was last reset
	waits *backoff.ExponentialBackOff

	mu     sync.Mutex // guards what follows, between Read and Close; only Read sets body
	body   *HTTPAnswer
	closed bool
}

// OpenStream begins a download. What Read returns beside its bytes is said at Source.Open.
func OpenStream(ctx context.Context, d Download, r Retries) (io.ReadCloser, error) {
	s := &stream{download: d, retries: r, size: -1, waits: r.waits(), sum: xxh3.New()}
	s.ctx, s.cancel = context.WithCancel(ctx)
	if err := s.start(); err != nil {
		s.cancel()
		return nil, err
	}
	return s, nil
}

// start requests the bytes from offset on, until that succeeds or is tried too often.
func (s *stream) start() error {
	for {
		err := s.request()
		if err == nil || !errors.Is(err, ErrUnavailable) {
			return err
		}
		if err := s.pause(err); err != nil {
			return err
		}
	}
}

// pause waits before the next try. It returns cause where that was the last.
func (s *stream) pause(cause error) error {
	if s.offset-s.mark >= minProgress {
		s.tries, s.mark = 0, s.offset
		s.waits.Reset()
	}
	if s.tries >= s.retries.Most {
		return cause
	}
	s.tries++
	return wait(s.ctx, s.waits.NextBackOff())
}

// request makes one request for the bytes from offset on.
func (s *stream) request() error {
	a, total, err := s.download.From(s.ctx, s.offset)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		a.Close()
		return context.Canceled
	}
	s.body, s.size = a, total
	return nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for s.failed == nil {
		if err := s.ctx.Err(); err != nil {
			s.failed = context.Cause(s.ctx)
			break
		}
		n, err := s.read(p)
		if n > 0 {
			return n, nil
		}
		s.failed = err
	}
	return 0, s.failed
}

// read reads once, and resumes where nothing more comes. It returns 0 and nil after it resumed.
func (s *stream) read(p []byte) (int, error) {
	if s.size >= 0 && s.offset == s.size {
		return 0, s.ending()
	}
	if s.size >= 0 {
		p = p[:min(int64(len(p)), s.size-s.offset)]
	}
	n, err := s.body.Read(p)
	_, _ = s.sum.Write(p[:n])
	s.offset += int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && s.size < 0:
		return 0, io.EOF
	default:
		return 0, s.resume(err)
	}
}

// ending checks that nothing follows the last byte that was announced. An answer with a length cannot
// have more; one in chunks can.
func (s *stream) ending() error {
	var extra [1]byte
	if n, _ := s.body.Read(extra[:]); n > 0 {
		return fmt.Errorf("%w: more than the %d bytes announced", ErrChanged, s.size)
	}
	return io.EOF
}

// resume goes on with a new request after the body broke off with cause.
func (s *stream) resume(cause error) error {
	cause = s.body.Explain(s.ctx, cause)
	s.body.Close()
	if s.ctx.Err() != nil {
		return cause
	}
	if s.offset > 0 && !s.download.MayResume() {
		return s.restart(cause)
	}
	if err := s.pause(cause); err != nil {
		return s.gaveUp(err)
	}
	switch err := s.start(); {
	case errors.Is(err, errFromStart):
		return s.restart(cause)
	case err != nil:
		return s.gaveUp(err)
	}
	return nil
}

// restart reads the image once more from its beginning, once, up to where it broke off with cause: what
// comes must be what came before. The hash is against accidents: who serves other bytes on purpose can do so
// in the first place. ErrChanged.
func (s *stream) restart(cause error) error {
	if s.restarts++; s.restarts > 1 {
		return s.brokeOff(cause)
	}
	if err := s.pause(cause); err != nil {
		return s.gaveUp(err)
	}
	to := s.offset
	s.offset = 0
	err := s.start()
	s.offset = to
	if err != nil {
		return s.gaveUp(err)
	}
	again := xxh3.New()
	if _, err := io.CopyN(again, s.body, to); err != nil {
		return s.brokeOff(s.body.Explain(s.ctx, err))
	}
	if again.Sum128() != s.sum.Sum128() {
		return fmt.Errorf("%w: its first %d bytes are others after the connection broke", ErrChanged, to)
	}
	return nil
}

// gaveUp makes an error of resuming say where the stream broke off.
func (s *stream) gaveUp(err error) error {
	if !errors.Is(err, ErrUnavailable) {
		return err
	}
	return s.brokeOff(err)
}

// brokeOff says where the stream ended and why: ErrTruncated, but ErrUnavailable where the server fell
// silent, of which nothing can be said but that it does not answer.
func (s *stream) brokeOff(cause error) error {
	if errors.Is(cause, errStalled) {
		return fmt.Errorf("at byte %d of %d: %w", s.offset, s.size, cause)
	}
	return fmt.Errorf("%w: at byte %d of %d: %v", ErrTruncated, s.offset, s.size, cause)
}

// Close ends the stream. It may be called while Read waits, and more than once.
func (s *stream) Close() error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.body != nil {
		s.body.Close()
	}
	s.closed = true
	return nil
}
