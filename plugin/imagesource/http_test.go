package imagesource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNewHTTPRefuses(t *testing.T) {
	for name, config := range map[string]HTTPConfig{
		"no name":            {URL: "http://h/"},
		"reserved name":      {Name: "http", URL: "http://h/"},
		"no URL":             {Name: "web"},
		"another scheme":     {Name: "web", URL: "file:///etc"},
		"no host":            {Name: "web", URL: "http:///x"},
		"opaque":             {Name: "web", URL: "http:x"},
		"a password":         {Name: "web", URL: "http://me:geheim@h/"},
		"a query":            {Name: "web", URL: "http://h/?token=geheim"},
		"an empty query":     {Name: "web", URL: "http://h/?"},
		"a fragment":         {Name: "web", URL: "http://h/#geheim"},
		"a way up":           {Name: "web", URL: "http://h/a/../b"},
		"a negative stall":   {Name: "web", URL: "http://h/", Stall: -1},
		"a login by halves":  {Name: "web", URL: "http://h/", User: "u"},
		"two logins":         {Name: "web", URL: "http://h/", User: "u", PasswordFile: "/p", TokenFile: "/t"},
		"no certificates":    {Name: "web", URL: "http://h/", CAFile: "/dev/null"},
		"no proxy":           {Name: "web", URL: "http://h/", Proxy: "proxy:3128"},
		"a proxy's password": {Name: "web", URL: "http://h/", Proxy: "http://me:geheim@proxy:3128"},
		"no host to go to":   {Name: "web", URL: "http://h/", Redirects: []string{"https://mirror/"}},
		"a client that ends": {Name: "web", URL: "http://h/", Client: &http.Client{Timeout: time.Second}},
		"not a URL":          {Name: "web", URL: "http://me:geheim@h:port/"},
	} {
		_, err := NewHTTP(config)
		if err == nil {
			t.Errorf("%s is taken", name)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
}

func TestHTTPStat(t *testing.T) {
	image := content(1000)
	whole := &webServer{t: t, body: image, etag: `"one"`, modified: longAgo}
	noHead := &webServer{t: t, body: image, etag: `"one"`, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return r.Method == http.MethodHead
	}}
	tests := []struct {
		name     string
		handler  http.Handler
		size     int64
		revision string // a part of it
		err      error
	}{
		{"whole", whole, 1000, `etag="one" modified=Fri, 02 Jan 2026`, nil},
		{"HEAD is refused", noHead, 1000, `etag="one"`, nil},
		{"HEAD is refused, no ranges", &webServer{t: t, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusNotImplemented)
				return true
			}
			answerWith(200, http.Header{"Etag": {`"x"`}}, "12345")(w, r)
			return true
		}}, 5, `etag="x"`, nil},
		{"empty, HEAD is refused", &webServer{t: t, etag: `"x"`, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusNotImplemented)
			}
			return r.Method == http.MethodHead
		}}, 0, `etag="x"`, nil},
		{"no length", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/images/a.raw" {
				http.NotFound(w, r)
				return
			}
			w.(http.Flusher).Flush()
		}), -1, "unvalidated size=-1", nil},
		{"not found", answerWith(404, nil, ""), 0, "", ErrNotFound},
		{"gone", answerWith(410, nil, ""), 0, "", ErrNotFound},
		{"unauthorised", answerWith(401, nil, ""), 0, "", ErrLogin},
		{"a proxy's login", answerWith(407, nil, ""), 0, "", ErrLogin},
		{"a page", answerWith(200, http.Header{"Content-Type": {"text/html; charset=utf-8"}}, "<html>sign in"), 0, "", ErrPage},
		{"forbidden", answerWith(403, nil, ""), 0, "", ErrForbidden},
		{"a bad request", answerWith(400, nil, ""), 0, "", ErrRefused},
		{"unavailable", answerWith(503, nil, ""), 0, "", ErrUnavailable},
		{"compressed", answerWith(200, http.Header{"Content-Encoding": {"gzip"}}, "x"), 0, "", ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := serve(t, tt.handler)
			got, err := h.Stat(t.Context(), "a.raw")
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if got.SizeBytes != tt.size || !strings.Contains(got.Revision, tt.revision) {
				t.Errorf("%d bytes, revision %q; want %d, %q in it", got.SizeBytes, got.Revision, tt.size, tt.revision)
			}
			if got.Ref() != "web:a.raw" || got.DiskFormat != "raw" {
				t.Errorf("image = %+v", got)
			}
		})
	}
}

func TestHTTPStatRepeatsWhatIsUnavailable(t *testing.T) {
	var heads atomic.Int64
	s := &webServer{t: t, body: content(10), etag: `"one"`, spoil: func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead && heads.Add(1) < 3 || r.Method == http.MethodGet && heads.Load() < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}}
	h, server := serve(t, s)
	if image := stat(t, h); image.SizeBytes != 10 || heads.Load() != 3 {
		t.Errorf("%d bytes after %d requests, want 10 after 3", image.SizeBytes, heads.Load())
	}
	server.Close()
	if _, err := h.Stat(t.Context(), "a.raw"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nobody listens = %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Stat(ctx, "a.raw"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled = %v, want context.Canceled", err)
	}
}

func TestHTTPWithoutValidatorsNeverSeesTheSameRevisionTwice(t *testing.T) {
	h, _ := serve(t, &webServer{t: t, body: content(10)})
	one, two := stat(t, h), stat(t, h)
	if one.Revision == two.Revision {
		t.Errorf("revision %q twice", one.Revision)
	}
}

func TestHTTPReferences(t *testing.T) {
	asked := make(chan string, 100)
	h, server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			asked <- r.URL.RequestURI()
			w.Header().Set("Content-Length", "1")
			return
		}
		http.NotFound(w, r)
	}))
	tests := []struct {
		id, path, canonical string // "" path: refused
	}{
		{"a.raw", "/images/a.raw", "a.raw"},
		{"/a.raw", "/images/a.raw", "a.raw"},
		{"sub/a b%2f.raw", "/images/sub/a%20b%252f.raw", "sub/a b%2f.raw"},
		{server.URL + "/images/a.raw", "/images/a.raw", "a.raw"},
		{server.URL + "/other/a.raw", "/other/a.raw", server.URL + "/other/a.raw"},
		{server.URL + "/imagesx", "/imagesx", server.URL + "/imagesx"},
		{"", "", ""}, {"..", "", ""}, {"../a.raw", "", ""}, {"sub/../../a.raw", "", ""}, {"//a.raw", "", ""},
		{"a.raw?token=geheim", "/images/a.raw?token=geheim", "a.raw"},
		{"a.raw?X-Amz-Signature=geheim&versionId=7", "/images/a.raw?X-Amz-Signature=geheim&versionId=7", "a.raw?~49d0f66ab7d6"},
		{"a.raw?~49d0f66ab7d6", "", ""}, {"a.raw#geheim", "", ""}, {`..\a.raw`, "", ""}, {"a\n.raw", "", ""},
		{server.URL + "/images/../a.raw", "", ""}, {server.URL + "/images/%2e%2e/a.raw", "", ""},
		{server.URL + "/images%2fa.raw", "", ""}, {server.URL, "", ""}, {server.URL + "/", "", ""},
		{server.URL + "/images/a.raw?q=geheim", "/images/a.raw?q=geheim", "a.raw?~f716d5fc2f9e"},
		{server.URL + "/other/a.raw?token=geheim", "/other/a.raw?token=geheim", server.URL + "/other/a.raw"},
		{"http://127.0.0.1:1/images/a.raw", "", ""}, {"https" + server.URL[4:] + "/images/a.raw", "", ""},
		{"http://me:geheim@" + server.URL[7:] + "/images/a.raw", "", ""},
		{"http://localhost.example.org/a.raw", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			image, err := h.Stat(t.Context(), tt.id)
			if tt.path == "" {
				if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "geheim") {
					t.Errorf("error = %v, want ErrRefused without secrets", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := <-asked; got != tt.path || image.ID != tt.canonical {
				t.Errorf("asked for %s as %s, want %s as %s", got, image.ID, tt.path, tt.canonical)
			}
		})
	}
}

func TestHTTPRedirects(t *testing.T) {
	other := httptest.NewServer(&webServer{t: t, body: content(10)})
	defer other.Close()
	tests := []struct {
		name, to string
		err      error
	}{
		{"same host", "/images/a.raw", nil},
		{"same host, with a query", "/images/a.raw?token=geheim", nil},
		{"another port", other.URL + "/images/a.raw?token=geheim", ErrRefused},
		{"another host", "http://localhost.example.org/?token=geheim", ErrRefused},
		{"a user", "USERURL", ErrRefused},
		{"another scheme", "file:///etc/passwd?token=geheim", ErrRedirect},
		{"no URL", "http://[?token=geheim", ErrUnavailable},
		{"round and round", "/images/from", ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			image := &webServer{t: t, body: content(10), etag: `"one"`}
			h, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/images/from" {
					image.ServeHTTP(w, r)
					return
				}
				to := tt.to
				if to == "USERURL" {
					to = "http://me:geheim@" + r.Host + "/images/a.raw"
				}
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusFound)
			}))
			_, err := h.Stat(t.Context(), "from")
			if !errors.Is(err, tt.err) {
				t.Errorf("stat = %v, want %v", err, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestRedirectToHTTPSOnly(t *testing.T) {
	tests := []struct {
		from, to string
		ok       bool
	}{
		{"http://h/a", "https://h/b", true},
		{"http://h/a", "https://H:443/b", true},
		{"https://h/a", "http://h/b", false},
		{"http://h/a", "https://h:8443/b", false},
		{"http://h:8080/a", "https://h/b", false},
		{"https://h/a", "https://h.example.org/b", false},
		{"https://h/a", "https://h:443/b", true},
	}
	for _, tt := range tests {
		from, _ := http.NewRequest(http.MethodGet, tt.from, nil)
		to, _ := http.NewRequest(http.MethodGet, tt.to, nil)
		if err := (&hosts{own: from.URL}).checkRedirect(to, []*http.Request{from}); (err == nil) != tt.ok {
			t.Errorf("%s to %s = %v, want ok %v", tt.from, tt.to, err, tt.ok)
		}
	}
}

// sumsServer has an image, and beside it whatever lists says.
type sumsServer struct {
	mu     sync.Mutex
	lists  map[string]http.HandlerFunc
	asked  map[string]int
	status map[string]int // answered with a list's name
}

func (s *sumsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/images/")
	if name == "a.raw" {
		w.Header().Set("Content-Length", "10")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[name]++
	if list := s.lists[name]; list != nil {
		recorder := httptest.NewRecorder()
		list(recorder, r)
		s.status[name] = recorder.Code
		list(w, r)
		return
	}
	http.NotFound(w, r)
}

func TestHTTPDigest(t *testing.T) {
	short, long := sha256Of([]byte("x")), Digest{SHA512, strings.Repeat("a1", 64)}
	text := func(body string) http.HandlerFunc {
		return answerWith(200, http.Header{"Content-Type": {"text/plain"}}, body)
	}
	tests := []struct {
		name  string
		lists map[string]http.HandlerFunc
		want  Digest
		err   error
	}{
		{"no lists", nil, Digest{}, nil},
		{"SHA256SUMS", map[string]http.HandlerFunc{"SHA256SUMS": text(short.Hex + " *a.raw\n")}, short, nil},
		{"SHA512SUMS", map[string]http.HandlerFunc{"SHA512SUMS": text(long.Hex + "  a.raw\n")}, long, nil},
		{"both", map[string]http.HandlerFunc{
			"SHA256SUMS": text(short.Hex + "  a.raw\n"), "SHA512SUMS": text(long.Hex + "  a.raw\n"),
		}, short, nil},
		{"the first does not name it", map[string]http.HandlerFunc{
			"SHA256SUMS": text(short.Hex + "  b.raw\n"), "SHA512SUMS": text(long.Hex + "  a.raw\n"),
		}, long, nil},
		{"forbidden is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(403, nil, "")}, Digest{}, nil},
		{"a page is none", map[string]http.HandlerFunc{
			"SHA256SUMS": answerWith(200, http.Header{"Content-Type": {"text/html; charset=utf-8"}}, "<html>"),
		}, Digest{}, nil},
		{"garbage is none", map[string]http.HandlerFunc{"SHA256SUMS": text("garbage\n")}, Digest{}, nil},
		{"JSON is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(200, http.Header{"Content-Type": {"application/json"}}, `{"errors":[]}`)}, Digest{}, nil},
		{"a page of another kind is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(200, http.Header{"Content-Type": {"application/xhtml+xml"}}, short.Hex+"  a.raw")}, Digest{}, nil},
		{"a redirect elsewhere is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(302, http.Header{"Location": {"http://localhost.example.org/x"}}, "")}, Digest{}, nil},
		{"400 is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(400, nil, "")}, Digest{}, nil},
		{"401 is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(401, nil, "")}, Digest{}, nil},
		{"405 is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(405, nil, "")}, Digest{}, nil},
		{"429 is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(429, nil, "")}, Digest{}, nil},
		{"500 is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(500, nil, "")}, Digest{}, nil},
		{"503 is none", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(503, nil, "")}, Digest{}, nil},
		{"none beside one of another name", map[string]http.HandlerFunc{"SHA256SUMS": answerWith(503, nil, ""), "a.raw.sha256": text(short.Hex)}, short, nil},
		{"CHECKSUM", map[string]http.HandlerFunc{"CHECKSUM": text("SHA256 (a.raw) = " + short.Hex)}, short, nil},
		{"a-CHECKSUM", map[string]http.HandlerFunc{"a-CHECKSUM": text("SHA256 (a.raw) = " + short.Hex)}, short, nil},
		{"two digests for the image", map[string]http.HandlerFunc{"SHA256SUMS": text(short.Hex + "  a.raw\n" + long.Hex[:64] + "  a.raw\n")}, Digest{}, ErrBadList},
		{"cut off", map[string]http.HandlerFunc{
			"SHA256SUMS": answerWith(200, http.Header{"Content-Length": {"1000"}}, short.Hex+"  a.raw\n"),
		}, Digest{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := serve(t, &sumsServer{lists: tt.lists, asked: map[string]int{}, status: map[string]int{}})
			got, err := h.Stat(t.Context(), "a.raw")
			if !errors.Is(err, tt.err) || got.Digest != tt.want {
				t.Errorf("digest = %q, %v; want %q, %v", got.Digest, err, tt.want, tt.err)
			}
		})
	}
}

func TestHTTPSumsAreAskedForOnceAndThenOnCondition(t *testing.T) {
	digest := sha256Of([]byte("x"))
	s := &sumsServer{asked: map[string]int{}, status: map[string]int{}, lists: map[string]http.HandlerFunc{
		"SHA256SUMS": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"list"`)
			if r.Header.Get("If-None-Match") == `"list"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = fmt.Fprintf(w, "%s  a.raw\n", digest.Hex)
		},
	}}
	h, _ := serve(t, s)
	for range 3 {
		if image := stat(t, h); image.Digest != digest {
			t.Fatalf("digest = %s, want %s", image.Digest, digest)
		}
	}
	if s.asked["SHA256SUMS"] != 1 {
		t.Errorf("asked %d times within SumsFor, want once", s.asked["SHA256SUMS"])
	}
	h.config.SumsFor = 1 // a nanosecond
	h.digests = newMemory[string, listed](1)
	for range 2 {
		if image := stat(t, h); image.Digest != digest {
			t.Fatalf("digest = %s, want %s", image.Digest, digest)
		}
	}
	if s.asked["SHA256SUMS"] != 3 || s.status["SHA256SUMS"] != http.StatusNotModified {
		t.Errorf("asked %d times, the last answer %d; want 3, 304", s.asked["SHA256SUMS"], s.status["SHA256SUMS"])
	}
}
