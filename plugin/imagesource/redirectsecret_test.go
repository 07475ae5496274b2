package imagesource

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// roundTrips answers requests without a network.
type roundTrips func(r *http.Request) *http.Response

func (f roundTrips) RoundTrip(r *http.Request) (*http.Response, error) {
	a := f(r)
	a.Request, a.ProtoMajor, a.ProtoMinor = r, 1, 1
	if a.Body == nil {
		a.Body = io.NopCloser(strings.NewReader(""))
	}
	return a, nil
}

// What opens an image at the source's own host, a login or what is signed in a URL, reaches no other host: by no
// chain of redirects, which net/http itself takes for one host where a name is below another.
func TestSecretsStayWithTheOwnHost(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "geheim\n")
	for _, tt := range []struct {
		name, own string
		chain     []string // where each answer redirects to; the last is the image
		login     bool     // reaches the last
	}{
		{"a host below it, then https there", "http://example.org", []string{"http://cdn.example.org/a", "https://cdn.example.org/a"}, false},
		{"a host below it", "https://example.org", []string{"https://cdn.example.org/a"}, false},
		{"another host, then https there", "http://example.org", []string{"http://mirror.example.net/a", "https://mirror.example.net/a"}, false},
		{"another port of it", "https://example.org", []string{"https://example.org:8443/a"}, false},
		{"https on it", "http://example.org", []string{"https://example.org/a"}, true},
		{"its own path", "https://example.org", []string{"https://example.org/b"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex // digest lists are asked for at the same time
			asked := map[string]http.Header{}
			next := 0
			answer := func(r *http.Request) *http.Response {
				mu.Lock()
				defer mu.Unlock()
				asked[r.URL.String()] = r.Header.Clone()
				if r.Method == http.MethodHead && next < len(tt.chain) {
					next++
					return &http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {tt.chain[next-1]}}}
				}
				if r.Method == http.MethodHead {
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Etag": {`"1"`}}, ContentLength: 1000}
				}
				return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}}
			}
			h := webSource(t, HTTPConfig{
				URL: tt.own, TokenFile: token, Redirects: []string{"*.example.org", "example.org", "mirror.example.net"},
				Client: &http.Client{Transport: roundTrips(answer)},
			})
			if _, err := h.Stat(t.Context(), tt.own+"/a.raw?X-Amz-Signature=geheim"); err != nil {
				t.Fatal(err)
			}
			got, reached := asked[tt.chain[len(tt.chain)-1]]
			if login := got.Get("Authorization") != ""; !reached || login != tt.login {
				t.Errorf("reached %v, with the login %v, want %v", reached, login, tt.login)
			}
			for u, header := range asked {
				if referer := header.Get("Referer"); referer != "" {
					t.Errorf("%s is told of %s", u, referer)
				}
			}
		})
	}
}

// A proxy carries requests: it is no host that images may come from, nor one that its own network's address opens.
func TestAProxyIsNoMirror(t *testing.T) {
	var redirectTo string
	var inside atomic.Int64 // digest lists are asked for at the same time
	p := proxyTo(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Host {
		case "images.example.org":
			http.Redirect(w, r, redirectTo, http.StatusFound)
		default:
			inside.Add(1)
			w.Header().Set("ETag", `"1"`)
			_, _ = w.Write(content(100))
		}
	})
	for _, tt := range []struct {
		to        string
		redirects []string
		ok        bool
	}{
		{p + "/admin", nil, false},
		{p + "/admin", []string{"*"}, false},
		{"http://169.254.169.254/latest/meta-data", []string{"*"}, false},
		{"http://[::ffff:169.254.169.254]/latest/meta-data", []string{"*"}, false},
		{"http://169.254.169.254/latest/meta-data", []string{"*", "169.254.0.0/16"}, true},
		{"http://169.254.169.254/latest/meta-data", []string{"169.254.169.254"}, true},
		{"http://mirror.example.net/a.raw", []string{"*"}, true},
	} {
		redirectTo = tt.to
		inside.Store(0)
		h := webSource(t, HTTPConfig{URL: "http://images.example.org/images", Proxy: p, Redirects: tt.redirects})
		_, err := h.Stat(t.Context(), "a.raw")
		if (err == nil) != tt.ok || (inside.Load() > 0) != tt.ok {
			t.Errorf("%s with %q: asked %d times, error = %v, want ok %v", tt.to, tt.redirects, inside.Load(), err, tt.ok)
		}
	}
}

// proxyTo is a proxy that answers by itself.
func proxyTo(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	p := httptest.NewServer(answer)
	t.Cleanup(p.Close)
	return p.URL
}
