package imagesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/cenkalti/backoff/v5"
)

// minProgress is how many bytes a request must bring for the next failure to count as a first one. One
// byte each would let a server keep us for ever.
const minProgress = 64 << 10

// stream is an image's bytes over HTTP, resumed where they broke off.
type stream struct {
	ctx    context.Context // covers the reading, as Source.Open says
	cancel context.CancelFunc
	source *HTTP
	url    *url.URL
	image  Image
	seen   identity // of the first answer; each later one must be the same
	offset int64
	failed error // what Read returns from now on

	tries int   // in a row that brought nothing
	mark  int64 // offset at which tries was last reset
	waits *backoff.ExponentialBackOff

	mu     sync.Mutex // guards what follows, between Read and Close; only Read sets body
	body   *answer
	closed bool
}

// Open implements Source. A stream that breaks or stalls is resumed by a range request on condition
// that the file is still the same. Where the server gave no validator for that, it is resumed only if
// a digest is expected, which will show a change. ErrNotFound, ErrForbidden, ErrUnavailable,
// ErrRefused; ErrChanged where the file is no longer the one that Stat saw.
func (h *HTTP) Open(ctx context.Context, image Image) (io.ReadCloser, error) {
	u, id, err := h.locate(image.ID)
	if err != nil {
		return nil, fmt.Errorf("open image %s:%s: %w", h.config.Name, clean(id), err)
	}
	s := &stream{source: h, url: u, image: image, waits: h.backoff()}
	s.ctx, s.cancel = context.WithCancel(ctx)
	if err := s.start(); err != nil {
		s.cancel()
		return nil, fmt.Errorf("open image %s:%s: %w", h.config.Name, id, err)
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
	if s.tries >= s.source.config.Retries {
		return cause
	}
	s.tries++
	return wait(s.ctx, s.waits.NextBackOff())
}

// request makes one request for the bytes from offset on, and checks that the answer is about them.
func (s *stream) request() error {
	header := http.Header{}
	if s.offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", s.offset))
		if validator := s.seen.ifRange(); validator != "" {
			header.Set("If-Range", validator)
		}
	}
	a, err := s.source.do(s.ctx, http.MethodGet, s.url, header)
	if err != nil {
		return err
	}
	if err := s.accept(a); err != nil {
		a.close()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		a.close()
		return context.Canceled
	}
	s.body = a
	return nil
}

func (s *stream) accept(a *answer) error {
	switch {
	case a.StatusCode == http.StatusOK && s.offset == 0:
		return s.acceptWhole(a)
	case a.StatusCode == http.StatusOK:
		return s.acceptNoRange(a)
	case a.StatusCode == http.StatusPartialContent && s.offset > 0:
		return s.acceptRest(a)
	case a.StatusCode == http.StatusRequestedRangeNotSatisfiable, a.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", ErrChanged, statusError(a.StatusCode))
	default:
		return statusError(a.StatusCode)
	}
}

// acceptWhole checks an answer that begins at the first byte.
func (s *stream) acceptWhole(a *answer) error {
	seen, err := identityOf(a.Response)
	if err != nil {
		return err
	}
	if s.image.SizeBytes >= 0 && seen.size < 0 {
		seen.size = s.image.SizeBytes
	}
	expected := seen
	if s.image.SizeBytes < 0 {
		expected.size = -1
	}
	changed := s.image.SizeBytes >= 0 && seen.size != s.image.SizeBytes
	if s.image.Revision != "" && !strings.HasPrefix(s.image.Revision, unvalidated) {
		changed = changed || expected.revision() != s.image.Revision
	}
	if s.seen.validated() && !s.seen.same(seen) {
		changed = true
	}
	if changed {
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, s.image.Revision, seen.revision())
	}
	s.seen = seen
	return nil
}

// acceptNoRange explains a whole answer to a request for the rest.
func (s *stream) acceptNoRange(a *answer) error {
	seen, err := identityOf(a.Response)
	if err != nil {
		return err
	}
	if !s.seen.same(seen) || !seen.validated() {
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, s.seen.revision(), seen.revision())
	}
	return fmt.Errorf("%w: at byte %d, and the server does not resume", ErrTruncated, s.offset)
}

// acceptRest checks that a partial answer is the rest of the same file, all of it and nothing else.
func (s *stream) acceptRest(a *answer) error {
	part, err := parseContentRange(a.Header.Get("Content-Range"))
	if err != nil {
		return fmt.Errorf("%w: at byte %d: the server's Content-Range: %w", ErrTruncated, s.offset, err)
	}
	seen := validatorsOf(a.Response)
	seen.size = part.total
	if seen.modified == "" && s.seen.ifRange() != "" {
		// A server need not repeat it once the condition held: RFC 9110, section 15.3.7.
		seen.modified = s.seen.modified
	}
	if !s.seen.same(seen) {
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, s.seen.revision(), seen.revision())
	}
	total := s.seen.size
	if total < 0 {
		total = part.total
	}
	if part.first != s.offset || total >= 0 && part.last != total-1 {
		return fmt.Errorf("%w: at byte %d: the server resumes with bytes %d-%d of %d",
			ErrTruncated, s.offset, part.first, part.last, total)
	}
	s.seen.size = total
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
	if s.seen.size >= 0 && s.offset == s.seen.size {
		return 0, s.ending()
	}
	if s.seen.size >= 0 {
		p = p[:min(int64(len(p)), s.seen.size-s.offset)]
	}
	n, err := s.body.Read(p)
	s.offset += int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && s.seen.size < 0:
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
		return fmt.Errorf("%w: more than the %d bytes announced", ErrChanged, s.seen.size)
	}
	return io.EOF
}

// resume goes on with a new request after the body broke off with cause.
func (s *stream) resume(cause error) error {
	cause = s.body.explain(s.ctx, cause)
	s.body.close()
	if s.ctx.Err() != nil {
		return cause
	}
	if s.offset > 0 && s.seen.ifRange() == "" && s.image.Digest.IsZero() {
		return fmt.Errorf("%w: at byte %d, and nothing would show a change on resuming: %v", ErrTruncated, s.offset, cause)
	}
	if err := s.pause(cause); err != nil {
		return s.gaveUp(err)
	}
	if err := s.start(); err != nil {
		return s.gaveUp(err)
	}
	return nil
}

// gaveUp makes an error of resuming say where the stream broke off.
func (s *stream) gaveUp(err error) error {
	if !errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: at byte %d of %d: %v", ErrTruncated, s.offset, s.seen.size, err)
}

// Close ends the stream. It may be called while Read waits, and more than once.
func (s *stream) Close() error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.body != nil {
		s.body.close()
	}
	s.closed = true
	return nil
}
