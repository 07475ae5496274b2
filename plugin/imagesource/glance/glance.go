// Package glance is the image source for OpenStack's Glance, by its API v2. It authorises each request: with
// the requester's own token where there is one, so that Glance itself says who may read what, else with the
// account's.
//
// Sources: Glance's API reference, version 2; answers of Glance 25.1.
package glance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Account is who asks where no requester brings a token, and how Glance is reached. It may be used from
// several goroutines.
type Account interface {
	// Token is valid at the moment, as far as is known.
	Token(ctx context.Context) (imagesource.Token, error)
	// Renew returns another token than the one that Glance did not accept.
	Renew(ctx context.Context, rejected imagesource.Token) (imagesource.Token, error)
	// Endpoint is Glance's URL, as Keystone's catalog has it.
	Endpoint(ctx context.Context) (string, error)
	// Transport is how servers are reached, with the account's certificates.
	Transport() (http.RoundTripper, error)
}

// Config describes one Glance.
type Config struct {
	Name     string // of the source; required
	Account  Account
	Endpoint string // Glance's URL; default: what Keystone's catalog says
	// RequireDownload lets requesters have only images whose data Glance would let them download. Without it, an image
	// that they may see suffices.
	RequireDownload bool
	// Stall is how long no byte may come before a request is given up and resumed. Default 30 s.
	Stall time.Duration
	// Retries is how often in a row a request is repeated that brought nothing. Default 5.
	Retries int
	// Backoff is the wait before the first repetition, which grows to 16 times that, give or take half.
	// Default 500 ms.
	Backoff time.Duration
}

// Source is an imagesource.Source for Glance's images, by their IDs. The data of an image never changes
// once it is active, so that a broken download is resumed wherever it broke off.
type Source struct {
	config   Config
	longPage int64 // bytes; what is longer is read in shorter pages
}

var _ imagesource.Source = (*Source)(nil)

// New checks config and asks nobody anything.
func New(config Config) (*Source, error) {
	if config.Name == "" || config.Account == nil {
		return nil, fmt.Errorf("image source %q: a name and an account are needed", config.Name)
	}
	if config.Stall < 0 || config.Retries < 0 || config.Backoff < 0 {
		return nil, fmt.Errorf("image source %s: stall, retries and backoff may not be negative", config.Name)
	}
	if config.Endpoint != "" {
		if u, err := url.Parse(config.Endpoint); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return nil, fmt.Errorf("image source %s: endpoint: not a plain http(s) URL", config.Name)
		}
	}
	if config.Stall == 0 {
		config.Stall = 30 * time.Second
	}
	if config.Retries == 0 {
		config.Retries = 5
	}
	if config.Backoff == 0 {
		config.Backoff = 500 * time.Millisecond
	}
	return &Source{config: config, longPage: maxMetadata}, nil
}

// Name implements imagesource.Source.
func (s *Source) Name() string { return s.config.Name }

// Stat implements imagesource.Source: one request, or two at once with RequireDownload. What is not an image's ID is
// ErrNotFound. An image that is not active is ErrNotActive, also where the token is one to which Glance would give the
// bytes of a deactivated image. ErrRefused: it is in a container that the cache does not open.
func (s *Source) Stat(ctx context.Context, id string) (imagesource.Image, error) {
	may := s.mayDownload(ctx, id)
	image, err := s.stat(ctx, id)
	if err == nil {
		err = may()
	}
	if err != nil {
		return imagesource.Image{}, fmt.Errorf("image %s:%.64s: %w", s.config.Name, id, err)
	}
	return image, nil
}

// isID tells whether it can be an image's ID.
func isID(id string) bool {
	u, err := uuid.Parse(id)
	return err == nil && u.String() == id
}

func (s *Source) stat(ctx context.Context, id string) (imagesource.Image, error) {
	if !isID(id) {
		return imagesource.Image{}, fmt.Errorf("%w: not an image's ID", imagesource.ErrNotFound)
	}
	tokens := &tokens{account: s.config.Account}
	for tried := 0; ; tried++ {
		image, err := s.look(ctx, id, tokens)
		if !errors.Is(err, imagesource.ErrUnavailable) || tried == min(s.config.Retries, 2) || ctx.Err() != nil {
			return image, err
		}
		if err := pause(ctx, s.config.Backoff<<tried); err != nil {
			return image, err
		}
	}
}

// Check asks Glance for the first of its images, and returns where it is. Errors as Stat's.
func (s *Source) Check(ctx context.Context) (endpoint string, err error) {
	where, _, err := s.server(ctx)
	if err != nil {
		return "", fmt.Errorf("image source %s: %w", s.config.Name, err)
	}
	a, err := s.get(ctx, &tokens{account: s.config.Account}, "v2/images", http.Header{})
	if err != nil {
		return "", fmt.Errorf("image source %s: %w", s.config.Name, err)
	}
	defer a.Close()
	if a.StatusCode != http.StatusOK {
		return "", fmt.Errorf("image source %s: %w", s.config.Name, statusError(a))
	}
	return where.Redacted(), nil
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look asks for an image's metadata.
func (s *Source) look(ctx context.Context, id string, t *tokens) (imagesource.Image, error) {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := s.get(ctx, t, "v2/images/"+id, http.Header{})
	if err != nil {
		return imagesource.Image{}, err
	}
	defer a.Close()
	if a.StatusCode != http.StatusOK {
		return imagesource.Image{}, statusError(a)
	}
	var m metadata
	if err := m.read(a); err != nil {
		return imagesource.Image{}, err
	}
	if m.ID != id {
		return imagesource.Image{}, fmt.Errorf("%w: Glance answers with another image", imagesource.ErrUnavailable)
	}
	return m.image(s.config.Name)
}

// get sends a request with the token that is next, and with another one where Glance does not accept it.
// ErrForbidden: no token is left.
func (s *Source) get(ctx context.Context, t *tokens, path string, header http.Header) (*imagesource.HTTPAnswer, error) {
	for {
		a, err := s.try(ctx, t, path, header)
		if err != nil || a.StatusCode != http.StatusUnauthorized {
			return a, err
		}
		a.Close()
	}
}

// try sends a request with the token that is next, and notes where Glance does not accept it.
func (s *Source) try(ctx context.Context, t *tokens, path string, header http.Header) (*imagesource.HTTPAnswer, error) {
	where, caller, err := s.server(ctx)
	if err != nil {
		return nil, err
	}
	path, where.RawQuery, _ = strings.Cut(path, "?")
	where.Path = strings.TrimSuffix(strings.TrimRight(where.Path, "/"), "/v2") + "/" + path
	token, err := t.next(ctx)
	if err != nil {
		return nil, err
	}
	header = header.Clone()
	header.Set("X-Auth-Token", string(token))
	a, err := caller.Do(ctx, http.MethodGet, where, header)
	if err == nil && a.StatusCode == http.StatusUnauthorized {
		t.reject(token)
	}
	return a, err
}

// server says where Glance is, and how it is reached. A redirect is not followed: it would carry the token
// elsewhere.
func (s *Source) server(ctx context.Context) (*url.URL, imagesource.HTTPCaller, error) {
	none := imagesource.HTTPCaller{}
	transport, err := s.config.Account.Transport()
	if err != nil {
		return nil, none, unavailable(ctx, err)
	}
	endpoint := s.config.Endpoint
	if endpoint == "" {
		if endpoint, err = s.config.Account.Endpoint(ctx); err != nil {
			return nil, none, unavailable(ctx, err)
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, none, fmt.Errorf("%w: Glance's endpoint is not a URL", imagesource.ErrUnavailable)
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return u, imagesource.HTTPCaller{Client: client, Stall: s.config.Stall}, nil
}

// Upstream is where Glance is, and how it is reached. imagesource.ErrUnavailable: Keystone does not say.
func (s *Source) Upstream(ctx context.Context) (*url.URL, http.RoundTripper, error) {
	where, caller, err := s.server(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("image source %s: %w", s.config.Name, err)
	}
	return where, caller.Client.Transport, nil
}

// unavailable makes an account's error the source's.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", imagesource.ErrUnavailable, err)
}

// statusError says what a status of Glance's means for an image, with Glance's own words where they say
// more.
func statusError(a *imagesource.HTTPAnswer) error {
	text := fmt.Sprintf("Glance answers %d %s", a.StatusCode, http.StatusText(a.StatusCode))
	switch {
	case a.StatusCode == http.StatusNotFound || a.StatusCode == http.StatusGone:
		return fmt.Errorf("%w: there is none, or the requester may not see it", imagesource.ErrNotFound)
	case a.StatusCode == http.StatusForbidden && strings.Contains(beginning(a), "deactivated"):
		return fmt.Errorf("%w: it is deactivated", imagesource.ErrNotActive)
	case a.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %s", imagesource.ErrForbidden, text)
	case a.StatusCode == http.StatusNoContent:
		return fmt.Errorf("%w: it has no data", imagesource.ErrNotActive)
	case a.StatusCode >= 500 || a.StatusCode == http.StatusTooManyRequests || a.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("%w: %s", imagesource.ErrUnavailable, text)
	default:
		return fmt.Errorf("%w: %s", imagesource.ErrRefused, text)
	}
}

// beginning is what an answer begins with.
func beginning(a *imagesource.HTTPAnswer) string {
	text, _ := io.ReadAll(io.LimitReader(a, 4<<10))
	return string(text)
}
