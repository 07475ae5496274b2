package imagesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// errStalled: no byte came for as long as HTTPConfig.Stall. It never leaves the package bare.
var errStalled = errors.New("no byte came for too long")

// HTTPCaller is how a source asks its server. Its Client should have no Timeout, which would cover a whole
// image.
type HTTPCaller struct {
	Client *http.Client
	Stall  time.Duration // how long next to nothing may come, less than 64 KiB, before a request is given up
}

// HTTPAnswer is a server's response whose body is given up when it stalls. Its user must Close it.
type HTTPAnswer struct {
	*http.Response
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	ctx    context.Context // of the request

	waited   time.Duration // for the last progress bytes, fewer than minProgress
	progress int
}

// do asks the source's own server.
func (h *HTTP) do(ctx context.Context, method string, u *url.URL, header http.Header) (*HTTPAnswer, error) {
	return h.doWithin(ctx, h.config.Stall, method, u, header)
}

// doWithin is do with another stall.
func (h *HTTP) doWithin(ctx context.Context, stall time.Duration, method string, u *url.URL, header http.Header) (*HTTPAnswer, error) {
	if header == nil {
		header = http.Header{}
	}
	if err := h.login.add(header); err != nil {
		return nil, err
	}
	return HTTPCaller{Client: h.client, Stall: stall}.Do(ctx, method, u, header)
}

// Do sends a request and waits for the head of its answer. The error is ErrUnavailable, ErrRefused,
// ErrCertificate, or ctx's, and never names the URL.
func (c HTTPCaller) Do(ctx context.Context, method string, u *url.URL, header http.Header) (*HTTPAnswer, error) {
	inner, cancel := context.WithCancelCause(ctx)
	a := &HTTPAnswer{cancel: cancel, stall: c.Stall, ctx: inner}
	a.timer = time.AfterFunc(a.stall, func() { cancel(errStalled) })
	request, err := http.NewRequestWithContext(inner, method, u.String(), nil)
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("%w: not a URL", ErrRefused)
	}
	if header != nil {
		request.Header = header
	}
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", "clonecache")
	response, err := c.Client.Do(request)
	a.timer.Stop()
	if err != nil {
		a.Close()
		if untrusted := certificateError(err, u.Host); untrusted != nil {
			return nil, untrusted
		}
		return nil, a.Explain(ctx, err)
	}
	a.Response = response
	if encoding := response.Header.Get("Content-Encoding"); !asPublished(encoding, response.Request.URL.Path) {
		a.Close()
		return nil, fmt.Errorf("%w: the server sends it encoded as %.20q; let it send images as they are, without compressing them on their way", ErrRefused, encoding)
	}
	return a, nil
}

// asPublished tells whether a body is the file as it lies on the server: not encoded, or said to be encoded as its
// name says that it is anyway. Some servers call the files that are compressed so.
func asPublished(encoding, path string) bool {
	suffix, known := map[string]string{"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "zstd": ".zst"}[strings.TrimPrefix(strings.ToLower(encoding), "x-")]
	return encoding == "" || strings.EqualFold(encoding, "identity") || known && strings.HasSuffix(strings.ToLower(path), suffix)
}

// Read reads the body. The stall timer runs only meanwhile: a slow consumer is no fault of the server. A byte now and
// then does not set it back, only minProgress does.
func (a *HTTPAnswer) Read(p []byte) (int, error) {
	began := time.Now()
	a.timer.Reset(max(a.stall-a.waited, 0))
	n, err := a.Body.Read(p)
	a.timer.Stop()
	a.waited += time.Since(began)
	if a.progress += n; a.progress >= minProgress {
		a.waited, a.progress = 0, 0
	}
	return n, err
}

// Close gives the answer up.
func (a *HTTPAnswer) Close() {
	a.timer.Stop()
	a.cancel(context.Canceled)
	if a.Response != nil {
		_ = a.Body.Close()
	}
}

// Explain says what an error of the connection means: the caller's ctx, a stall, or the network.
func (a *HTTPAnswer) Explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrRefused):
		return withoutURL(err)
	case errors.Is(context.Cause(a.ctx), errStalled):
		return fmt.Errorf("%w: %w (%v)", ErrUnavailable, errStalled, a.stall)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, withoutURL(err))
	}
}

var _ io.Reader = (*HTTPAnswer)(nil)

// statusError says what a status means for an image.
func statusError(status int) error {
	text := fmt.Sprintf("the server answers %d %s", status, http.StatusText(status))
	switch {
	case status == http.StatusNotFound || status == http.StatusGone:
		return fmt.Errorf("%w: %s", ErrNotFound, text)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%w: %w: %s", ErrForbidden, ErrLogin, text)
	case status == http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: the proxy answers %d %s", ErrLogin, status, http.StatusText(status))
	case status == http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrForbidden, text)
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return fmt.Errorf("%w: %s", ErrUnavailable, text)
	default:
		return fmt.Errorf("%w: %s", ErrRefused, text)
	}
}

// identity is what a server says of a file, by which a change is noticed.
type identity struct {
	size     int64 // -1 unknown
	etag     string
	modified string
}

// identityOf reads the size from Content-Range where the answer is partial, else from Content-Length.
func identityOf(r *http.Response) (identity, error) {
	seen := validatorsOf(r)
	seen.size = r.ContentLength
	if r.StatusCode == http.StatusPartialContent {
		part, err := ParseContentRange(r.Header.Get("Content-Range"))
		if err != nil {
			return identity{}, fmt.Errorf("%w: the server's Content-Range: %w", ErrRefused, err)
		}
		seen.size = part.Total
	}
	return seen, nil
}

func validatorsOf(r *http.Response) identity {
	return identity{etag: headerValue(r, "ETag"), modified: headerValue(r, "Last-Modified")}
}

// headerValue is empty where a header is absurdly long: it would be kept.
func headerValue(r *http.Response, name string) string {
	if value := r.Header.Get(name); len(value) <= 512 {
		return value
	}
	return ""
}

// unvalidated begins the revision of an image whose server says nothing by which a change would show.
const unvalidated = "unvalidated "

func (i identity) revision() string {
	return fmt.Sprintf("size=%d etag=%s modified=%s", i.size, i.weakTag(), i.modified)
}

// unvalidatedRevision is another one each time: nothing would tell a change, so that no two looks may seem
// to have seen the same image.
func (i identity) unvalidatedRevision() string {
	return fmt.Sprintf("%ssize=%d seen_ns=%d", unvalidated, i.size, time.Now().UnixNano())
}

// weakTag is the ETag as it is compared weakly. Source: RFC 9110, section 8.8.3.2.
func (i identity) weakTag() string { return strings.TrimPrefix(i.etag, "W/") }

// validated tells whether the server gave anything by which a change of the same size would show.
func (i identity) validated() bool { return i.etag != "" || i.modified != "" }

// modifiedAt is zero where the server does not say it.
func (i identity) modifiedAt() time.Time {
	t, err := http.ParseTime(i.modified)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// ifRange is the validator for a request of the rest; empty where there is none that is good for it.
// A weak ETag is not. Source: RFC 9110, section 13.1.5.
func (i identity) ifRange() string {
	if strings.HasPrefix(i.etag, `"`) {
		return i.etag
	}
	if !i.modifiedAt().IsZero() {
		return i.modified
	}
	return ""
}

// sameSize tells whether two answers can be about the same bytes, by their size.
func (i identity) sameSize(other identity) bool {
	return i.size == other.size || i.size < 0 || other.size < 0
}

// same tells whether two answers are about the same bytes: one validator of both is equal. Servers behind one
// name may have an ETag each for one file.
func (i identity) same(other identity) bool {
	tags := i.etag != "" && i.weakTag() == other.weakTag()
	times := i.modified != "" && i.modified == other.modified
	return i.sameSize(other) && (tags || times)
}
