package imagesource

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// webSource makes a source whose waits are short.
func webSource(t *testing.T, config HTTPConfig) *HTTP {
	t.Helper()
	config.Name, config.Backoff, config.Retries = "web", time.Millisecond, 1
	h, err := NewHTTP(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.client.CloseIdleConnections)
	return h
}

func TestAPrivateAuthority(t *testing.T) {
	var asked atomic.Int64
	web := &webServer{t: t, body: content(1000), etag: `"1"`}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		web.ServeHTTP(w, r)
	}))
	defer server.Close()
	server.Config.ErrorLog = nil
	authority := filepath.Join(t.TempDir(), "ca.pem")
	write(t, authority, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))

	h := webSource(t, HTTPConfig{URL: server.URL + "/images", CAFile: authority})
	if image := stat(t, h); image.SizeBytes != 1000 {
		t.Errorf("%d bytes, want 1000", image.SizeBytes)
	}
	before := asked.Load()
	for name, config := range map[string]HTTPConfig{
		"O=Acme Co": {URL: server.URL + "/images"},
		"is for":    {URL: strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/images", CAFile: authority},
	} {
		_, err := webSource(t, config).Stat(t.Context(), "a.raw")
		if !errors.Is(err, ErrCertificate) || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v, want ErrCertificate that names %q", err, name)
		}
	}
	if asked.Load() != before {
		t.Error("a server was asked whose certificate is not trusted")
	}
}

// proxy forwards to one server, whatever host is asked for, and counts.
func proxy(t *testing.T, to http.Handler) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Host != "images.example.org" {
			t.Errorf("the proxy is asked for %s", r.URL.Host)
		}
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p, &asked
}

func TestProxy(t *testing.T) {
	want := content(1000)
	p, asked := proxy(t, &webServer{t: t, body: want, etag: `"1"`})
	h := webSource(t, HTTPConfig{URL: "http://images.example.org/images", Proxy: p.URL})
	if got, err := fetch(t, h, stat(t, h)); err != nil || !bytes.Equal(got, want) || asked.Load() == 0 {
		t.Errorf("read %d bytes by %d requests of the proxy, %v", len(got), asked.Load(), err)
	}
	t.Run("without", func(t *testing.T) {
		server := httptest.NewServer(&webServer{t: t, body: want, etag: `"1"`})
		defer server.Close()
		h := webSource(t, HTTPConfig{URL: server.URL + "/images", Proxy: ProxyNone})
		if image := stat(t, h); image.SizeBytes != 1000 {
			t.Errorf("%d bytes, want 1000", image.SizeBytes)
		}
	})
}

func TestLogin(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "password"), "geheim\n")
	write(t, filepath.Join(dir, "token"), "t0ken\r\n")
	web := &webServer{t: t, body: content(10), etag: `"1"`}
	var other atomic.Int64
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			other.Add(1)
		}
		web.ServeHTTP(w, r)
	}))
	defer mirror.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, basic := r.BasicAuth()
		known := basic && user == "u" && password == "geheim"
		if !known && r.Header.Get("Authorization") != "Bearer t0ken" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/images/b.raw" {
			http.Redirect(w, r, mirror.URL+"/images/a.raw", http.StatusFound)
			return
		}
		web.ServeHTTP(w, r)
	}))
	defer server.Close()
	tests := []struct {
		name   string
		config HTTPConfig
		err    error
	}{
		{"user and password", HTTPConfig{User: "u", PasswordFile: filepath.Join(dir, "password")}, nil},
		{"token", HTTPConfig{TokenFile: filepath.Join(dir, "token")}, nil},
		{"none", HTTPConfig{}, ErrLogin},
		{"another user", HTTPConfig{User: "v", PasswordFile: filepath.Join(dir, "password")}, ErrLogin},
		{"no file", HTTPConfig{TokenFile: filepath.Join(dir, "none")}, ErrLogin},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.URL, tt.config.Redirects = server.URL+"/images", []string{"127.0.0.1"}
			h := webSource(t, tt.config)
			for _, id := range []string{"a.raw", "b.raw"} {
				_, err := h.Stat(t.Context(), id)
				if !errors.Is(err, tt.err) || err != nil && strings.Contains(err.Error(), "geheim") {
					t.Errorf("%s: error = %v, want %v", id, err, tt.err)
				}
			}
			if _, err := h.Check(t.Context()); !errors.Is(err, tt.err) {
				t.Errorf("check = %v, want %v", err, tt.err)
			}
		})
	}
	if other.Load() != 0 {
		t.Errorf("another host got the login %d times", other.Load())
	}
}

func TestRedirectsToNamedHosts(t *testing.T) {
	want := content(1000)
	mirror := httptest.NewServer(&webServer{t: t, body: want, etag: `"1"`})
	defer mirror.Close()
	_, at, _ := net.SplitHostPort(mirror.Listener.Addr().String())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/images/a.raw" {
			http.NotFound(w, r)
			return
		}
		http.Redirect(w, r, "http://localhost:"+at+"/images/a.raw?sig=geheim", http.StatusFound)
	}))
	defer server.Close()
	for _, tt := range []struct {
		redirects []string
		err       error
	}{
		{nil, ErrRedirect}, {[]string{"127.0.0.1"}, ErrRedirect}, {[]string{"*.example.org", "mirror"}, ErrRedirect},
		{[]string{"localhost"}, nil}, {[]string{"LOCALHOST"}, nil},
		{[]string{"*"}, ErrAddress}, // any host, but none with an address of its own network
		{[]string{"*", "127.0.0.0/8", "::1/128"}, nil}, {[]string{"*", "10.0.0.0/8"}, ErrAddress},
	} {
		h := webSource(t, HTTPConfig{URL: server.URL + "/images", Redirects: tt.redirects})
		image, err := h.Stat(t.Context(), "a.raw")
		if !errors.Is(err, tt.err) || err != nil && (!errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "geheim")) {
			t.Errorf("%q: error = %v, want %v", tt.redirects, err, tt.err)
		}
		if tt.err != nil {
			continue
		}
		if got, err := fetch(t, h, image); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: read %d bytes, %v", tt.redirects, len(got), err)
		}
	}
}

func TestRedirectsBetweenSchemes(t *testing.T) {
	own, _ := url.Parse("https://images.example.org/x")
	h, err := newHosts(own, []string{"*.example.org", "10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	for to, ok := range map[string]bool{
		"https://images.example.org/y": true, "https://mirror.example.org/y": true, "https://a.b.example.org/y": true,
		"https://10.1.2.3/y": true, "https://example.org/y": false, "https://badexample.org/y": false,
		"http://mirror.example.org/y": false, "https://images.example.org:8443/y": false, "https://192.168.0.1/y": false,
		"file:///etc/passwd": false, "https://me:geheim@mirror.example.org/y": false,
	} {
		r, _ := http.NewRequest(http.MethodGet, to, nil)
		from, _ := http.NewRequest(http.MethodGet, own.String(), nil)
		if err := h.checkRedirect(r, []*http.Request{from}); (err == nil) != ok {
			t.Errorf("%s = %v, want ok %v", to, err, ok)
		}
	}
}

func TestSpecialAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "10.0.0.1": true, "172.16.0.1": true, "192.168.1.1": true, "169.254.169.254": true, "100.64.0.1": true,
		"0.0.0.0": true, "224.0.0.1": true, "255.255.255.255": true, "240.0.0.1": true, "198.18.0.1": true, "192.0.0.8": true,
		"::1": true, "::": true, "fe80::1": true, "fe80::1%eth0": true, "fc00::1": true, "fd12::1": true, "ff02::1": true, "fec0::1": true,
		"::ffff:10.0.0.1": true, "64:ff9b::a00:1": true, "2002:7f00:1::": true, "::7f00:1": true,
		"1.1.1.1": false, "172.32.0.1": false, "2606:4700::1": false, "::ffff:1.1.1.1": false, "64:ff9b::101:101": false,
	} {
		if got := special(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s = %v, want %v", text, got, want)
		}
	}
}

func TestAddressesAreLookedAtForEachConnection(t *testing.T) {
	own, _ := url.Parse("http://images.example.org/")
	h, err := newHosts(own, []string{"*.example.org", "named.example.net", "192.168.7.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host, address string
		ok            bool
	}{
		{"a.example.org", "1.1.1.1:80", true}, {"a.example.org", "10.0.0.1:80", false}, {"a.example.org", "169.254.169.254:80", false},
		{"a.example.org", "192.168.7.9:80", true}, {"a.example.org", "[fe80::1%lo]:80", false},
	} {
		if err := h.checkAddress(tt.host, tt.address); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrAddress) {
			t.Errorf("%s at %s = %v, want ok %v", tt.host, tt.address, err, tt.ok)
		}
	}
	for host, want := range map[string]bool{"images.example.org": true, "named.example.net": true, "a.example.org": false} {
		if got := h.named(host); got != want {
			t.Errorf("%s is named: %v, want %v", host, got, want)
		}
	}
}

// oddServer answers HEAD and GET of one image by what a test says of each.
type oddServer struct {
	body []byte
	head func(w http.ResponseWriter)
	tags func(n int64, w http.ResponseWriter) // of the n-th request, sets its validators
	n    atomic.Int64
}

func (s *oddServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/images/a.raw" {
		http.NotFound(w, r)
		return
	}
	if s.tags != nil {
		s.tags(s.n.Add(1), w)
	}
	if r.Method == http.MethodHead && s.head != nil {
		s.head(w)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.body))
}

func TestWhatGETSaysIsBelieved(t *testing.T) {
	want := content(1000)
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(code) }
	}
	tag := func(tags ...string) func(int64, http.ResponseWriter) {
		return func(n int64, w http.ResponseWriter) { w.Header().Set("ETag", tags[int(n)%len(tags)]) }
	}
	tests := []struct {
		name    string
		server  *oddServer
		revised bool
	}{
		{"HEAD says 404", &oddServer{head: status(404), tags: tag(`"1"`)}, false},
		{"HEAD says 403", &oddServer{head: status(403), tags: tag(`"1"`)}, false},
		{"HEAD says 401", &oddServer{head: status(401), tags: tag(`"1"`)}, false},
		{"HEAD says 500", &oddServer{head: status(500), tags: tag(`"1"`)}, false},
		{"HEAD says 0 bytes", &oddServer{head: func(w http.ResponseWriter) { w.Header().Set("Content-Length", "0") }, tags: tag(`"1"`)}, false},
		{"HEAD says that it is a page", &oddServer{head: func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "9")
			w.Header().Set("Content-Type", "text/html")
		}, tags: tag(`"1"`)}, false},
		{"weak and strong", &oddServer{tags: tag(`"1"`, `W/"1"`)}, false},
		{"an ETag of each node", &oddServer{tags: tag(`"1"`, `"2"`)}, true},
		{"an ETag of each node, one time of change", &oddServer{tags: func(n int64, w http.ResponseWriter) {
			tag(`"1"`, `"2"`)(n, w)
			w.Header().Set("Last-Modified", longAgo.Format(http.TimeFormat))
		}}, false},
		{"a time of change of each node", &oddServer{tags: func(n int64, w http.ResponseWriter) {
			w.Header().Set("Last-Modified", longAgo.Add(time.Duration(n)*time.Second).Format(http.TimeFormat))
		}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.server.body = want
			h, _ := serve(t, tt.server)
			image := stat(t, h)
			r, err := h.Open(t.Context(), image)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) || image.SizeBytes != 1000 {
				t.Errorf("read %d bytes of %d, %v", len(got), image.SizeBytes, err)
			}
			revised, _ := r.(Revised)
			if got := revised.Revision(); (got != "") != tt.revised || got == image.Revision {
				t.Errorf("revision %q was read as %q, want another: %v", image.Revision, got, tt.revised)
			}
		})
	}
}

func TestHEADThatLiesAboutTheSize(t *testing.T) {
	body := content(1000)
	for _, listed := range []bool{true, false} {
		image := &oddServer{body: body, tags: func(_ int64, w http.ResponseWriter) { w.Header().Set("ETag", `"1"`) },
			head: func(w http.ResponseWriter) { w.Header().Set("Content-Length", "5") }}
		h, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if listed && r.URL.Path == "/images/SHA256SUMS" {
				_, _ = io.WriteString(w, sha256Of(body).Hex+"  a.raw\n")
				return
			}
			image.ServeHTTP(w, r)
		}))
		if _, err := h.Open(t.Context(), stat(t, h)); !errors.Is(err, ErrChanged) {
			t.Errorf("open = %v, want ErrChanged", err)
		}
		if !listed { // nothing tells which is true
			if _, err := h.Stat(Anew(t.Context()), "a.raw"); !errors.Is(err, ErrChanged) {
				t.Errorf("stat anew = %v, want ErrChanged", err)
			}
			continue
		}
		if got := stat(t, h); got.SizeBytes != 1000 {
			t.Errorf("%d bytes, want the 1000 that GET says", got.SizeBytes)
		}
	}
}

func TestAPageInPlaceOfAnImage(t *testing.T) {
	h, _ := serve(t, &webServer{t: t, body: content(1000), etag: `"1"`, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n < 0 {
			return false
		}
		answerWith(200, http.Header{"Content-Type": {"text/html"}, "Etag": {`"1"`}}, strings.Repeat("x", 1000))(w, r)
		return true
	}})
	if _, err := h.Open(t.Context(), stat(t, h)); !errors.Is(err, ErrPage) {
		t.Errorf("open = %v, want ErrPage", err)
	}
}

func TestListsAreAskedForAnewWhenTheImageChanges(t *testing.T) {
	one, two := content(1000), append(content(999), 'x')
	now := &atomic.Pointer[[]byte]{}
	now.Store(&one)
	h, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := *now.Load()
		switch r.URL.Path {
		case "/images/a.raw":
			w.Header().Set("ETag", `"`+sha256Of(body).Hex[:8]+`"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		case "/images/SHA256SUMS":
			_, _ = io.WriteString(w, sha256Of(body).Hex+"  a.raw\n")
		default:
			http.NotFound(w, r)
		}
	}))
	for _, body := range [][]byte{one, two, one} {
		now.Store(&body)
		if image := stat(t, h); image.Digest != sha256Of(body) || image.List != "SHA256SUMS" {
			t.Errorf("digest = %s of %q, want %s", image.Digest, image.List, sha256Of(body))
		}
	}
}

func TestAnewAsksForListsAnew(t *testing.T) {
	s := &sumsServer{asked: map[string]int{}, status: map[string]int{}, lists: map[string]http.HandlerFunc{
		"SHA256SUMS": answerWith(200, nil, sha256Of([]byte("x")).Hex+"  a.raw\n"),
	}}
	h, _ := serve(t, s)
	for _, ctx := range []context.Context{t.Context(), t.Context(), Anew(t.Context())} {
		if _, err := h.Stat(ctx, "a.raw"); err != nil {
			t.Fatal(err)
		}
	}
	if s.asked["SHA256SUMS"] != 2 {
		t.Errorf("asked %d times, want 2", s.asked["SHA256SUMS"])
	}
	if s.asked["SHA512SUMS"] != 1 { // only before it was known which list names the image
		t.Errorf("another list was asked for %d times, want once", s.asked["SHA512SUMS"])
	}
}
