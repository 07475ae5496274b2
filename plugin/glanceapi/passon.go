package glanceapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// passOn lets Glance answer, and changes nothing of what it says.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request) { s.passOnAnd(w, r, nil) }

// passOnAnd is passOn; answered, unless it is nil, is called with Glance's answer before the caller gets that.
func (s *Server) passOnAnd(w http.ResponseWriter, r *http.Request, answered func(*http.Response) error) {
	to, transport, err := s.upstream(r.Context())
	if err != nil {
		s.noGlance(w, r, err)
		return
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { s.readdress(p, to) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorHandler:  s.noGlance,

		ModifyResponse: answered,
	}
	client := patient{w, s.config.Patience}
	defer client.done()
	proxy.ServeHTTP(client, r)
}

// upstream is Glance's own address, without a version.
func (s *Server) upstream(ctx context.Context) (*url.URL, http.RoundTripper, error) {
	where, transport, err := s.config.Glance.Upstream(ctx)
	if err != nil {
		return nil, nil, err
	}
	to := *where
	to.Path = strings.TrimSuffix(strings.TrimRight(to.Path, "/"), "/v2")
	return &to, transport, nil
}

// readdress sends a request to Glance, with what proxies before this one have said of it.
func (s *Server) readdress(p *httputil.ProxyRequest, to *url.URL) {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := p.In.Header.Values(name); len(values) > 0 {
			p.Out.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	p.SetURL(to)
	p.Out.URL.RawQuery = p.In.URL.RawQuery // what Go would leave out of it is for Glance to judge
	p.Out.Header.Add("Via", "1.1 "+s.hop)
}

// noGlance answers where Glance does not: as a balancer before it would.
func (s *Server) noGlance(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the caller has gone
	}
	s.log.WithField("path", r.URL.Path).WithError(err).Warn("Glance does not answer")
	refuse(w, r, http.StatusServiceUnavailable, "Glance does not answer.")
}

// ask sends a request of our own to Glance, by the caller's right. The caller closes the answer.
func (s *Server) ask(r *http.Request, path string, header http.Header) (*http.Response, error) {
	to, transport, err := s.upstream(r.Context())
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, to.JoinPath(path).String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask Glance for %s: %w", path, err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if token := r.Header.Get(callerHeader); token != "" {
		request.Header.Set(callerHeader, token)
	}
	request.Header.Add("Via", "1.1 "+s.hop)
	return transport.RoundTrip(request)
}
