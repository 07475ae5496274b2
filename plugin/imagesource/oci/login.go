package oci

import (
	"fmt"
	"net/http"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// ownLogin sends requests, and keeps the login with whom it is for. The registry says who gives tokens for it; a host that
// it redirects to does not, and a login that goes by TLS never goes without.
type ownLogin struct {
	http.RoundTripper
	host string // the registry's
	tls  bool   // the registry is reached by TLS
}

// RoundTrip implements http.RoundTripper.
func (o ownLogin) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.tls && r.URL.Scheme != "https" && r.Header.Get("Authorization") != "" {
		return nil, fmt.Errorf("%w: the registry asks for it without TLS", imagesource.ErrLogin)
	}
	answer, err := o.RoundTripper.RoundTrip(r)
	if err == nil && answer.StatusCode == http.StatusUnauthorized && r.URL.Host != o.host {
		answer.Header.Del("Www-Authenticate")
	}
	return answer, err
}
