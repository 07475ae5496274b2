package imagesource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/singleflight"
)

// HTTPConfig describes a web server's folder of images.
type HTTPConfig struct {
	Name string // required
	// URL is the folder, required: http or https, without user, query or fragment. Its host is thereby
	// allowed, loopback and private addresses too; no other host is ever asked.
	URL string
	// Client is used with its redirects restricted; a Timeout would cover a whole image, so leave it 0.
	// Default: one without proxy and cookies.
	Client *http.Client
	// Stall is how long no byte may come before the request is given up and resumed, and how long a Stat may
	// take in all. Default 30 s.
	Stall time.Duration
	// Retries is how often in a row a request is repeated that brought nothing. Default 5.
	Retries int
	// Backoff is the wait before the first repetition, which grows to 16 times that, give or take half.
	// Default 500 ms.
	Backoff time.Duration
	// SumsFor is how long a list of digests is believed without asking whether it changed. Default 60 s.
	SumsFor time.Duration
}

// HTTP is a Source of the files on one web server. An image's ID is its path below the configured
// URL, or a whole URL on the same host. The digest that is expected of an image comes from a
// SHA256SUMS or SHA512SUMS file beside it. Everybody may share what is there.
//
// Errors never contain a URL's query, which may be a credential.
type HTTP struct {
	config HTTPConfig
	base   *url.URL
	client *http.Client
	sums   *sumsCache[httpSums]

	refreshes singleflight.Group // of lists of digests, by URL
}

var _ Source = (*HTTP)(nil)

// NewHTTP checks config; it asks the server nothing.
func NewHTTP(config HTTPConfig) (*HTTP, error) {
	if err := checkSourceName(config.Name); err != nil {
		return nil, fmt.Errorf("image source %q: name: %w", config.Name, err)
	}
	base, err := parseBase(config.URL)
	if err != nil {
		return nil, fmt.Errorf("image source %s: url: %w", config.Name, err)
	}
	if config.Stall < 0 || config.Retries < 0 || config.Backoff < 0 || config.SumsFor < 0 {
		return nil, fmt.Errorf("image source %s: stall, retries, backoff and sums_for may not be negative", config.Name)
	}
	if config.Client != nil && config.Client.Timeout != 0 {
		return nil, fmt.Errorf("image source %s: a client with a timeout would cut images off", config.Name)
	}
	config.Stall = orDefault(config.Stall, 30*time.Second)
	config.Retries = orDefault(config.Retries, 5)
	config.Backoff = orDefault(config.Backoff, 500*time.Millisecond)
	config.SumsFor = orDefault(config.SumsFor, time.Minute)
	return &HTTP{config: config, base: base, client: restrict(config.Client), sums: newSumsCache[httpSums]()}, nil
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// restrict copies a client and limits its redirects.
func restrict(given *http.Client) *http.Client {
	client := &http.Client{}
	if given != nil {
		*client = *given
	} else {
		client.Transport = &http.Transport{
			DisableCompression:    true,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       time.Minute,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
		}
	}
	client.CheckRedirect = checkRedirect
	return client
}

// Name implements Source.
func (h *HTTP) Name() string { return h.config.Name }

// Stat implements Source: one HEAD request (or a GET of one byte, where the server refuses HEAD), and
// at times one for a list of digests. All of it takes Stall at most. ErrNotFound, ErrForbidden, ErrUnavailable, ErrRefused; a list of
// digests that cannot be understood is ErrRefused too.
func (h *HTTP) Stat(ctx context.Context, id string) (Image, error) {
	u, id, err := h.locate(id)
	if err != nil {
		return Image{}, fmt.Errorf("image %s:%s: %w", h.config.Name, clean(id), err)
	}
	inTime, cancel := context.WithTimeoutCause(ctx, h.config.Stall, fmt.Errorf("%w: %w (%v)", ErrUnavailable, errStalled, h.config.Stall))
	defer cancel()
	image, err := h.stat(inTime, u)
	if err != nil && inTime.Err() != nil && ctx.Err() == nil {
		err = context.Cause(inTime)
	}
	if err != nil {
		return Image{}, fmt.Errorf("image %s:%s: %w", h.config.Name, id, err)
	}
	image.Source, image.ID, image.DiskFormat = h.config.Name, id, diskFormatOf(u.Path)
	return image, nil
}

func (h *HTTP) stat(ctx context.Context, u *url.URL) (Image, error) {
	var seen identity
	err := h.retry(ctx, func() (err error) {
		seen, err = h.look(ctx, u)
		return err
	})
	if err != nil {
		return Image{}, err
	}
	digest, err := h.digest(ctx, u)
	if err != nil {
		return Image{}, err
	}
	image := Image{Revision: seen.revision(), SizeBytes: seen.size, Digest: digest, ModifiedAt: seen.modifiedAt()}
	if !seen.validated() {
		// Nothing would tell a change, so that no two looks may seem to have seen the same image.
		image.Revision = fmt.Sprintf("%ssize=%d seen_ns=%d", unvalidated, seen.size, time.Now().UnixNano())
	}
	return image, nil
}

// look asks what the server says of a file.
func (h *HTTP) look(ctx context.Context, u *url.URL) (identity, error) {
	r, err := h.do(ctx, http.MethodHead, u, nil)
	if err != nil {
		return identity{}, err
	}
	r.Close()
	switch r.StatusCode {
	case http.StatusOK:
		if r.ContentLength >= 0 {
			return identityOf(r.Response)
		}
	case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest, http.StatusForbidden:
	default:
		return identity{}, statusError(r.StatusCode)
	}
	return h.lookByRange(ctx, u)
}

// lookByRange asks for the first byte, and learns the size from the answer.
func (h *HTTP) lookByRange(ctx context.Context, u *url.URL) (identity, error) {
	r, err := h.do(ctx, http.MethodGet, u, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return identity{}, err
	}
	defer r.Close()
	switch r.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return identityOf(r.Response)
	case http.StatusRequestedRangeNotSatisfiable: // an empty file has no first byte
		if r.Header.Get("Content-Range") == "bytes */0" {
			return validatorsOf(r.Response), nil
		}
	}
	return identity{}, statusError(r.StatusCode)
}

// retry repeats what is unavailable, a few times.
func (h *HTTP) retry(ctx context.Context, try func() error) error {
	waits := h.retries().waits()
	for tried := 0; ; tried++ {
		err := try()
		if err == nil || !errors.Is(err, ErrUnavailable) || tried >= min(h.config.Retries, 2) {
			return err
		}
		if waitErr := wait(ctx, waits.NextBackOff()); waitErr != nil {
			return waitErr
		}
	}
}

// wait waits, unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
