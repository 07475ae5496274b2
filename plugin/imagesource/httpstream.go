package imagesource

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// httpDownload is a file on a web server while it is read.
type httpDownload struct {
	source *HTTP
	url    *url.URL
	image  Image
	seen   identity // of the first answer; each later one must be the same
}

var _ Download = (*httpDownload)(nil)

// Open implements Source. A stream that breaks or stalls is resumed by a range request on condition
// that the file is still the same. Where the server gave no validator for that, it is resumed only if
// a digest is expected, which will show a change. ErrNotFound, ErrForbidden, ErrUnavailable,
// ErrRefused; ErrChanged where the file is no longer the one that Stat saw.
func (h *HTTP) Open(ctx context.Context, image Image) (io.ReadCloser, error) {
	u, id, err := h.locate(image.ID)
	if err != nil {
		return nil, fmt.Errorf("open image %s:%s: %w", h.config.Name, clean(id), err)
	}
	s, err := OpenStream(ctx, &httpDownload{source: h, url: u, image: image}, h.retries())
	if err != nil {
		return nil, fmt.Errorf("open image %s:%s: %w", h.config.Name, id, err)
	}
	return s, nil
}

func (h *HTTP) retries() Retries { return Retries{Most: h.config.Retries, Backoff: h.config.Backoff} }

// MayResume implements Download.
func (s *httpDownload) MayResume() bool { return s.seen.ifRange() != "" || !s.image.Digest.IsZero() }

// From implements Download.
func (s *httpDownload) From(ctx context.Context, offset int64) (*HTTPAnswer, int64, error) {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if validator := s.seen.ifRange(); validator != "" {
			header.Set("If-Range", validator)
		}
	}
	a, err := s.source.do(ctx, http.MethodGet, s.url, header)
	if err != nil {
		return nil, 0, err
	}
	if err := s.accept(a, offset); err != nil {
		a.Close()
		return nil, 0, err
	}
	return a, s.seen.size, nil
}

func (s *httpDownload) accept(a *HTTPAnswer, offset int64) error {
	switch {
	case a.StatusCode == http.StatusOK && offset == 0:
		return s.acceptWhole(a)
	case a.StatusCode == http.StatusOK:
		return s.acceptNoRange(a, offset)
	case a.StatusCode == http.StatusPartialContent && offset > 0:
		return s.acceptRest(a, offset)
	case a.StatusCode == http.StatusRequestedRangeNotSatisfiable, a.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", ErrChanged, statusError(a.StatusCode))
	default:
		return statusError(a.StatusCode)
	}
}

// acceptWhole checks an answer that begins at the first byte.
func (s *httpDownload) acceptWhole(a *HTTPAnswer) error {
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
func (s *httpDownload) acceptNoRange(a *HTTPAnswer, offset int64) error {
	seen, err := identityOf(a.Response)
	if err != nil {
		return err
	}
	if !s.seen.same(seen) || !seen.validated() {
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, s.seen.revision(), seen.revision())
	}
	return fmt.Errorf("%w: at byte %d, and the server does not resume", ErrTruncated, offset)
}

// acceptRest checks that a partial answer is the rest of the same file, all of it and nothing else.
func (s *httpDownload) acceptRest(a *HTTPAnswer, offset int64) error {
	part, err := ParseContentRange(a.Header.Get("Content-Range"))
	if err != nil {
		return fmt.Errorf("%w: at byte %d: the server's Content-Range: %w", ErrTruncated, offset, err)
	}
	seen := validatorsOf(a.Response)
	seen.size = part.Total
	if seen.modified == "" && s.seen.ifRange() != "" {
		// A server need not repeat it once the condition held: RFC 9110, section 15.3.7.
		seen.modified = s.seen.modified
	}
	if !s.seen.same(seen) {
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, s.seen.revision(), seen.revision())
	}
	total := s.seen.size
	if total < 0 {
		total = part.Total
	}
	if part.First != offset || total >= 0 && part.Last != total-1 {
		return fmt.Errorf("%w: at byte %d: the server resumes with bytes %d-%d of %d",
			ErrTruncated, offset, part.First, part.Last, total)
	}
	s.seen.size = total
	return nil
}
