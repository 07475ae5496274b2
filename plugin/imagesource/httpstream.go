package imagesource

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// httpDownload is a file on a web server while it is read.
type httpDownload struct {
	source *HTTP
	url    *url.URL
	image  Image
	seen   identity // of the first answer; each later one must be the same
}

var _ Download = (*httpDownload)(nil)

// httpReader is an image's stream that knows its revision.
type httpReader struct {
	io.ReadCloser
	revision string
}

// Revision implements Revised.
func (r *httpReader) Revision() string { return r.revision }

// Open implements Source. A stream that breaks or stalls is resumed by a range request on condition
// that the file is still the same. Where the server gives no ranges, or gave no validator for that and no
// digest is expected, the file is read once more from its beginning, and what was read already must be
// equal. ErrNotFound, ErrForbidden, ErrUnavailable, ErrRefused and what else Stat returns; ErrChanged where
// the file has another size than Stat saw. Where only its validators are others, what is read is a Revised.
func (h *HTTP) Open(ctx context.Context, image Image) (io.ReadCloser, error) {
	id := image.ID
	if image.address != "" {
		id = string(image.address)
	}
	u, _, err := h.locate(id)
	if err != nil {
		return nil, fmt.Errorf("open image %s:%s: %w", h.config.Name, clean(image.ID), err)
	}
	d := &httpDownload{source: h, url: u, image: image}
	s, err := OpenStream(ctx, d, h.retries())
	if err != nil {
		return nil, fmt.Errorf("open image %s:%s: %w", h.config.Name, clean(image.ID), err)
	}
	return &httpReader{s, d.revised()}, nil
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
	ok := a.StatusCode == http.StatusOK || a.StatusCode == http.StatusPartialContent
	switch {
	case ok && isPage(a.Response):
		return ErrPage
	case a.StatusCode == http.StatusOK && offset == 0:
		return s.acceptWhole(a)
	case a.StatusCode == http.StatusOK:
		return s.acceptNoRange(a)
	case a.StatusCode == http.StatusPartialContent && offset > 0:
		return s.acceptRest(a, offset)
	case a.StatusCode == http.StatusRequestedRangeNotSatisfiable && a.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", offset):
		return fmt.Errorf("%w: at byte %d, where the server says that it ends, of the %d that it announced", ErrTruncated, offset, s.seen.size)
	case a.StatusCode == http.StatusRequestedRangeNotSatisfiable, a.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", ErrChanged, statusError(a.StatusCode))
	default:
		return statusError(a.StatusCode)
	}
}

// acceptWhole checks an answer that begins at the first byte. With the size that was expected, what the
// server says beside that is believed: a change shows by the digest, or by what it says next time.
func (s *httpDownload) acceptWhole(a *HTTPAnswer) error {
	seen, err := identityOf(a.Response)
	if err != nil {
		return err
	}
	if s.image.SizeBytes >= 0 && seen.size < 0 {
		seen.size = s.image.SizeBytes
	}
	again := s.seen.validated() // after nothing, or not all, was got
	resized := s.image.SizeBytes >= 0 && seen.size != s.image.SizeBytes
	if resized && !s.image.Digest.IsZero() {
		s.source.byGet.put(s.url.String(), struct{}{})
	}
	if resized || again && !s.seen.sameSize(seen) || again && !s.seen.same(seen) && s.image.Digest.IsZero() {
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, s.image.Revision, seen.revision())
	}
	s.seen = seen
	return nil
}

// revised is what Revised.Revision says.
func (s *httpDownload) revised() string {
	expected := s.image.seen
	if expected.size < 0 {
		expected.size = s.seen.size
	}
	if !expected.validated() || expected.same(s.seen) {
		return ""
	}
	s.source.byGet.put(s.url.String(), struct{}{})
	if !s.seen.validated() {
		return s.seen.unvalidatedRevision()
	}
	return s.seen.revision()
}

// acceptNoRange explains a whole answer to a request for the rest.
func (s *httpDownload) acceptNoRange(a *HTTPAnswer) error {
	seen, err := identityOf(a.Response)
	if err != nil {
		return err
	}
	if !s.seen.sameSize(seen) {
		return fmt.Errorf("%w: was %s, is %s", ErrChanged, s.seen.revision(), seen.revision())
	}
	return errFromStart
}

// acceptRest checks that a partial answer is the rest of the same file, all of it and nothing else.
func (s *httpDownload) acceptRest(a *HTTPAnswer, offset int64) error {
	part, err := ParseContentRange(a.Header.Get("Content-Range"))
	if err != nil {
		return fmt.Errorf("%w: at byte %d: the server's Content-Range: %w", ErrTruncated, offset, err)
	}
	seen := validatorsOf(a.Response)
	seen.size = part.Total
	if !s.seen.sameSize(seen) || s.image.Digest.IsZero() && !s.seen.same(seen) {
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
