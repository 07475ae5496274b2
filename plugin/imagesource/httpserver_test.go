package imagesource

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// webServer serves one image as well as net/http can, except for what its fields spoil.
type webServer struct {
	t    testing.TB
	body []byte

	etag     string
	modified time.Time
	// breakAfter is how many bytes of the answer numbered n (from 0) are sent before the connection
	// breaks; negative: all.
	breakAfter func(n int) int
	// spoil answers in place of the server, where it returns true.
	spoil func(n int, w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	gets []string // the Range header of each GET of the image
}

var longAgo = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (s *webServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/images/a.raw" {
		http.NotFound(w, r)
		return
	}
	n := -1
	if r.Method == http.MethodGet {
		s.mu.Lock()
		n = len(s.gets)
		s.gets = append(s.gets, r.Header.Get("Range"))
		s.mu.Unlock()
	}
	if s.spoil != nil && s.spoil(n, w, r) {
		return
	}
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	if s.breakAfter != nil && n >= 0 {
		w = &breaking{ResponseWriter: w, left: s.breakAfter(n)}
	}
	http.ServeContent(w, r, "", s.modified, bytes.NewReader(s.body))
}

func (s *webServer) ranges() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.gets...)
}

// breaking lets so many bytes of a body pass, then breaks the connection.
type breaking struct {
	http.ResponseWriter
	left int // negative: all
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left < 0 || len(p) <= b.left {
		n, err := b.ResponseWriter.Write(p)
		if b.left >= 0 {
			b.left -= n
		}
		return n, err
	}
	_, _ = b.ResponseWriter.Write(p[:b.left])
	if f, ok := b.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// serve starts a server and a source for its folder /images.
func serve(t testing.TB, handler http.Handler) (*HTTP, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	h, err := NewHTTP(HTTPConfig{Name: "web", URL: server.URL + "/images", Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return h, server
}

func stat(t testing.TB, h *HTTP) Image {
	t.Helper()
	image, err := h.Stat(t.Context(), "a.raw")
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// answerWith is a handler that says the same to all.
func answerWith(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = fmt.Fprint(w, body)
		}
	}
}
