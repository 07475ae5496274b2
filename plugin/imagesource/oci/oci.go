// Package oci is the image source for registries of containers: containerdisks, as KubeVirt has them, and artifacts that
// are one disk image. It acts by the source's own account; whoever may use the source may have its images.
//
// The digest of what is downloaded is verified; nothing that an image names is opened.
//
// Sources: the OCI distribution and image specifications 1.1; KubeVirt's description of containerdisks.
package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/smallfile"
)

// Config describes one registry, or a part of it.
type Config struct {
	Name string // of the source; required
	// URL is the registry's, with what its images' names begin with: https://quay.io/containerdisks. Required.
	URL    string
	CAFile string // PEM, trusted beside the host's; "": none
	// User and PasswordFile are the login; "": none is needed. The file is read for each login.
	User, PasswordFile string
	// Stall is how long no byte may come before a request is given up and resumed. Default 30 s.
	Stall time.Duration
	// Retries is how often in a row a request is repeated that brought nothing. Default 5.
	Retries int
	// Backoff is the wait before the first repetition. Default 500 ms.
	Backoff time.Duration
}

// Source is an imagesource.Source for images in a registry, by NAME, NAME:TAG or NAME@DIGEST. What a digest names never
// changes, so that a broken download is resumed wherever it broke off.
type Source struct {
	config Config
	base   *url.URL
	client *auth.Client
}

var _ imagesource.Source = (*Source)(nil)

// New checks config and asks nobody anything.
func New(config Config) (*Source, error) {
	u, err := url.Parse(config.URL)
	switch {
	case config.Name == "":
		return nil, errors.New("image source: a name is needed")
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("image source %s: url: not a plain http(s) URL", config.Name)
	case (config.User == "") != (config.PasswordFile == ""):
		return nil, fmt.Errorf("image source %s: user: give both user and password_file, or neither", config.Name)
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
	u.Host = registry.Reference{Registry: u.Host}.Host() // Docker Hub's is not what it is called
	s := &Source{config: config, base: u}
	transport, err := newTransport(config.CAFile)
	if err != nil {
		return nil, fmt.Errorf("image source %s: ca_file: %w", config.Name, err)
	}
	own := ownLogin{transport, u.Host, u.Scheme == "https"}
	s.client = &auth.Client{Client: &http.Client{Transport: own}, Credential: s.credential, Cache: auth.NewCache()}
	return s, nil
}

func newTransport(caFile string) (*http.Transport, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableCompression: true, ForceAttemptHTTP2: true,
		IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if caFile == "" {
		return t, nil
	}
	pem, err := smallfile.Read(caFile)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate: give PEM", caFile)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// credential is the login at the registry itself, and at no other host.
func (s *Source) credential(_ context.Context, host string) (auth.Credential, error) {
	if s.config.User == "" || host != s.base.Host {
		return auth.EmptyCredential, nil
	}
	text, err := smallfile.Read(s.config.PasswordFile)
	if err != nil {
		return auth.EmptyCredential, fmt.Errorf("%w: password_file: %w", imagesource.ErrLogin, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return auth.Credential{Username: s.config.User, Password: strings.TrimSuffix(line, "\r")}, nil
}

// Name implements imagesource.Source.
func (s *Source) Name() string { return s.config.Name }

// ref is an image's ID in its parts.
type ref struct {
	repository *remote.Repository
	reference  string // a tag or a digest
}

// refOf reads an image's ID. imagesource.ErrRefused: it is none.
func (s *Source) refOf(id string) (ref, error) {
	name, reference := id, "latest"
	if before, digest, ok := strings.Cut(id, "@"); ok {
		name, reference = before, digest
	} else if i := strings.LastIndexByte(id, ':'); i > strings.LastIndexByte(id, '/') {
		name, reference = id[:i], id[i+1:]
	}
	path := strings.Trim(strings.Trim(s.base.Path, "/")+"/"+name, "/")
	repository, err := remote.NewRepository(s.base.Host + "/" + path)
	if err == nil {
		_, err = repository.ParseReference(reference)
	}
	if err != nil || name == "" || strings.Contains(reference, "/") {
		return ref{}, fmt.Errorf("%w: an image is NAME:TAG or NAME@DIGEST", imagesource.ErrRefused)
	}
	repository.PlainHTTP, repository.Client = s.base.Scheme == "http", s.client
	return ref{repository, reference}, nil
}

// Stat implements imagesource.Source. Of an index, the manifest for Linux on this machine's architecture counts.
// imagesource.ErrRefused: it is neither a containerdisk nor an artifact that is one file. ErrLogin, ErrNotFound,
// ErrDigestMismatch, ErrUnavailable.
func (s *Source) Stat(ctx context.Context, id string) (imagesource.Image, error) {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := s.refOf(id)
	if err == nil {
		var l layer
		if l, err = r.layer(ctx); err == nil {
			return l.image(s.config.Name, id), nil
		}
	}
	return imagesource.Image{}, fmt.Errorf("image %s:%.64s: %w", s.config.Name, id, explain(ctx, err))
}

// Check asks the registry whether it is one. Errors as Stat's.
func (s *Source) Check(ctx context.Context) error {
	r, err := remote.NewRegistry(s.base.Host)
	if err == nil {
		r.PlainHTTP, r.Client = s.base.Scheme == "http", s.client
		err = r.Ping(ctx)
	}
	if err != nil {
		return fmt.Errorf("image source %s: %w", s.config.Name, explain(ctx, err))
	}
	return nil
}

// explain says what an error of the registry means.
func explain(ctx context.Context, err error) error {
	for _, known := range imagesource.Errors() {
		if errors.Is(err, known) {
			return err
		}
	}
	var answer *errcode.ErrorResponse
	var untrusted *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(err, errdef.ErrNotFound):
		return fmt.Errorf("%w: the registry has none, or does not show it", imagesource.ErrNotFound)
	case errors.As(err, &answer):
		return statusError(answer.StatusCode)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("%w: the registry wants one; give user and password_file", imagesource.ErrLogin)
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w: %w", imagesource.ErrCertificate, err)
	}
	return fmt.Errorf("%w: %w", imagesource.ErrUnavailable, err)
}

// statusError says what a status means.
func statusError(status int) error {
	text := fmt.Sprintf("the registry answers %d %s", status, http.StatusText(status))
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("%w: %s; check user and password_file", imagesource.ErrLogin, text)
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %s", imagesource.ErrNotFound, text)
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return fmt.Errorf("%w: %s", imagesource.ErrUnavailable, text)
	}
	return fmt.Errorf("%w: %s", imagesource.ErrRefused, text)
}
