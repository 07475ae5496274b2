package outbox

import (
	"errors"
	"net/http"
	"net/url"
	"time"
)

// cause leaves out the URL, which may hold a secret in its path or its query.
func cause(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// NewClient is the client of webhooks: it follows no redirect, and keeps few connections.
func NewClient() *http.Client {
	const idle = 90 * time.Second
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 2, IdleConnTimeout: idle, TLSHandshakeTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
