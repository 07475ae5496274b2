package imagesource

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/singleflight"
)

// HTTPConfig describes a web server's folder of images.
type HTTPConfig struct {
	Name string // required
	// URL is the folder, required: http or https, without user, query or fragment. Its host is thereby
	// allowed, loopback and private addresses too; no other host is asked, unless Redirects names it.
	URL string
	// CAFile holds certificates of authorities to trust beside the host's, as PEM. It is read once.
	CAFile string
	// Proxy is http://host:port, https:// or socks5://, or ProxyNone. Default: what the environment says.
	Proxy string
	// User and PasswordFile, or TokenFile, are the login at the source's own host; no other gets it.
	User, PasswordFile, TokenFile string
	// Redirects are the hosts to which the server may redirect: names, "*.example.org", "*", addresses,
	// networks. Only names and addresses that stand there may be private or link-local. Default: none.
	Redirects []string
	// ServeStale is how long hits go on, by what the server said last, while it does not answer. Default: not.
	ServeStale time.Duration
	// Warn is told, once for each, of lists of digests that are not used. Default: nobody.
	Warn func(what string)
	// Client is used with its redirects restricted; a Timeout would cover a whole image, so leave it 0.
	// CAFile and Proxy are not for it. Default: one without cookies.
	Client *http.Client
	// Stall is how long next to nothing may come, less than 64 KiB, before the request is given up and resumed, and
	// how long a Stat may take in all. Default 30 s.
	Stall time.Duration
	// Retries is how often in a row a request is repeated that brought nothing. Default 5.
	Retries int
	// Backoff is the wait before the first repetition, which grows to 16 times that, give or take half.
	// Default 500 ms.
	Backoff time.Duration
	// SumsFor is how long what a list of digests says of a file is believed without asking whether it
	// changed, unless the file has; ten times that where there is no list. Default 60 s.
	SumsFor time.Duration
}

// HTTP is a Source of the files on one web server. An image's ID is its path below the configured
// URL, or a whole URL on the same host. The digest that is expected of an image comes from a list beside
// it, such as SHA256SUMS. Everybody may share what is there.
//
// Errors and IDs never contain a URL's query, which may be a credential.
type HTTP struct {
	config HTTPConfig
	base   *url.URL
	hosts  *hosts
	login  login
	client *http.Client

	lists   *memory[string, httpList] // by URL
	digests *memory[string, listed]   // by the file's URL
	byGet   *memory[string, struct{}] // files of which HEAD says other things than GET
	warned  *memory[string, struct{}] // of what

	refreshes singleflight.Group // of what lists say, by the file's URL and revision
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
	allowed, err := newHosts(base, config.Redirects)
	if err != nil {
		return nil, fmt.Errorf("image source %s: redirects: %w", config.Name, err)
	}
	login := login{config.User, config.PasswordFile, config.TokenFile}
	if err := login.check(); err != nil {
		return nil, fmt.Errorf("image source %s: %w", config.Name, err)
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
	if config.Warn == nil {
		config.Warn = func(string) {}
	}
	client, err := restrict(config, allowed)
	if err != nil {
		return nil, fmt.Errorf("image source %s: %w", config.Name, err)
	}
	return &HTTP{
		config: config, base: base, hosts: allowed, login: login, client: client,
		lists: newSizedMemory[string](maxListsKept, func(l httpList) int { return l.sums.size() }), digests: newMemory[string, listed](maxFilesKept),
		byGet: newMemory[string, struct{}](maxFilesKept), warned: newMemory[string, struct{}](maxFilesKept),
	}, nil
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// restrict copies a client, or makes one, and limits its redirects.
func restrict(config HTTPConfig, allowed *hosts) (*http.Client, error) {
	client := &http.Client{}
	if config.Client != nil {
		*client = *config.Client
	} else {
		transport, err := allowed.transport(config)
		if err != nil {
			return nil, err
		}
		client.Transport = transport
	}
	client.CheckRedirect = allowed.checkRedirect
	return client, nil
}

// Name implements Source.
func (h *HTTP) Name() string { return h.config.Name }

// StaleFor implements Stale.
func (h *HTTP) StaleFor() time.Duration { return h.config.ServeStale }

// Shown implements Shown: without the query.
func (h *HTTP) Shown(id string) string { return clean(id) }

// Check asks for the folder, and returns what the server says of it; any answer is one, since many servers
// list no folders. ErrUnavailable, ErrCertificate, ErrLogin, ErrRefused.
func (h *HTTP) Check(ctx context.Context) (status string, err error) {
	u := *h.base
	u.Path += "/"
	r, err := h.do(ctx, http.MethodHead, &u, nil)
	if err != nil {
		return "", fmt.Errorf("image source %s: %w", h.config.Name, err)
	}
	defer r.Close()
	if r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusProxyAuthRequired {
		return "", fmt.Errorf("image source %s: %w", h.config.Name, statusError(r.StatusCode))
	}
	return r.Status, nil
}

// Stat implements Source: one HEAD request, or a GET of one byte where HEAD does not tell, and at times some
// for lists of digests. All of it takes Stall at most. ErrNotFound, ErrForbidden, ErrUnavailable, ErrRefused,
// ErrBadList, ErrPage, ErrCertificate, ErrLogin, ErrRedirect, ErrAddress.
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
	if u.RawQuery != "" {
		image.address = address(u.String())
	}
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
	said, err := h.digest(ctx, u, seen.revision())
	if err != nil {
		return Image{}, err
	}
	if isAnew(ctx) && said.digest.IsZero() {
		if seen, err = h.compared(ctx, u, seen); err != nil {
			return Image{}, err
		}
	}
	image := Image{Revision: seen.revision(), SizeBytes: seen.size, Digest: said.digest, List: said.list, ModifiedAt: seen.modifiedAt(), seen: seen}
	if !seen.validated() {
		image.Revision = seen.unvalidatedRevision()
	}
	return image, nil
}

// look asks what the server says of a file. What GET says is believed where HEAD says nothing, or something
// else.
func (h *HTTP) look(ctx context.Context, u *url.URL) (identity, error) {
	if _, get := h.byGet.get(u.String()); get || isAnew(ctx) {
		return h.lookByRange(ctx, u)
	}
	seen, told, headErr := h.lookByHead(ctx, u)
	if told || headErr != nil && (ctx.Err() != nil || !errors.Is(headErr, ErrUnavailable)) {
		return seen, headErr
	}
	seen, err := h.lookByRange(ctx, u)
	if err == nil && headErr != nil {
		h.byGet.put(u.String(), struct{}{})
	}
	return seen, err
}

// lookByHead asks by HEAD; told is false where that does not tell: many servers and gateways refuse it, or
// answer as if there was nothing. Some hang up, or say nothing at all: a GET has as much time left.
func (h *HTTP) lookByHead(ctx context.Context, u *url.URL) (seen identity, told bool, err error) {
	r, err := h.doWithin(ctx, h.config.Stall/2, http.MethodHead, u, nil)
	if err != nil {
		return identity{}, false, err
	}
	r.Close()
	if r.StatusCode != http.StatusOK || r.ContentLength <= 0 || isPage(r.Response) {
		return identity{}, false, nil
	}
	seen, err = identityOf(r.Response)
	return seen, true, err
}

// compared is what GET said of a file, compared with what HEAD says, where no digest will show which is true:
// a GET that is cut short must not pass for the whole. ErrChanged.
func (h *HTTP) compared(ctx context.Context, u *url.URL, get identity) (identity, error) {
	head, told, err := h.lookByHead(ctx, u)
	switch {
	case err != nil || !told:
		return get, err
	case get.size < 0:
		return head, nil
	case head.size != get.size:
		return identity{}, fmt.Errorf("%w: the server says %d bytes to HEAD and %d to GET, and there is no list of digests", ErrChanged, head.size, get.size)
	}
	return get, nil
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
		if isPage(r.Response) {
			return identity{}, ErrPage
		}
		return identityOf(r.Response)
	case http.StatusRequestedRangeNotSatisfiable: // an empty file has no first byte
		if r.Header.Get("Content-Range") == "bytes */0" {
			return validatorsOf(r.Response), nil
		}
	}
	return identity{}, statusError(r.StatusCode)
}

// isPage tells whether an answer is a web page: some servers, and proxies before them, answer one with status
// 200 for what they do not give.
func isPage(r *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "text/html" || kind == "application/xhtml+xml"
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
