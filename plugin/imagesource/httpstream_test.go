package imagesource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const megabyte = 1 << 20

func breakAt(points ...int) func(int) int {
	return func(n int) int {
		if n < len(points) {
			return points[n]
		}
		return -1
	}
}

// fetch reads an image through the digest check, as a fill does.
func fetch(t *testing.T, h *HTTP, image Image) ([]byte, error) {
	t.Helper()
	r, err := h.Open(t.Context(), image)
	if err != nil {
		return nil, err
	}
	v := Verify(r, image.Digest)
	defer v.Close()
	got, err := io.ReadAll(v)
	if err != nil {
		return got, err
	}
	return got, v.Check()
}

func TestHTTPStreamResumes(t *testing.T) {
	want := content(2 * megabyte)
	tests := []struct {
		name   string
		server *webServer
		gets   []string // the Range of each request
		err    error
	}{
		{"whole", &webServer{etag: `"1"`}, []string{""}, nil},
		{"broken once", &webServer{etag: `"1"`, breakAfter: breakAt(1000)}, []string{"", "bytes=1000-"}, nil},
		{"broken before the first byte", &webServer{etag: `"1"`, breakAfter: breakAt(0)}, []string{"", ""}, nil},
		{"broken before the last byte", &webServer{etag: `"1"`, breakAfter: breakAt(2*megabyte - 1)},
			[]string{"", fmt.Sprintf("bytes=%d-", 2*megabyte-1)}, nil},
		{"by Last-Modified", &webServer{modified: longAgo, breakAfter: breakAt(1000)}, []string{"", "bytes=1000-"}, nil},
		{"a weak ETag, by Last-Modified", &webServer{etag: `W/"1"`, modified: longAgo, breakAfter: breakAt(1000)},
			[]string{"", "bytes=1000-"}, nil},
		{"a weak ETag alone, from the beginning", &webServer{etag: `W/"1"`, breakAfter: breakAt(1000)}, []string{"", ""}, nil},
		{"no validator, from the beginning", &webServer{breakAfter: breakAt(1000)}, []string{"", ""}, nil},
		{"no validator, from the beginning once", &webServer{breakAfter: breakAt(1000, 2000)}, []string{"", ""}, ErrTruncated},
		{"again and again, with progress", &webServer{etag: `"1"`, breakAfter: func(int) int { return 100_000 }}, nil, nil},
		{"again and again, without", &webServer{etag: `"1"`, breakAfter: breakAt(1000, 0, 0, 0, 0, 0, 0, 0, 0)}, nil, ErrTruncated},
		{"a byte at a time", &webServer{etag: `"1"`, breakAfter: func(int) int { return 1 }}, nil, ErrTruncated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.server
			s.t, s.body = t, want
			h, _ := serve(t, s)
			got, err := fetch(t, h, stat(t, h))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err == nil && !bytes.Equal(got, want) {
				t.Error("other bytes")
			}
			if ranges := s.ranges(); tt.gets != nil && strings.Join(ranges, ",") != strings.Join(tt.gets, ",") {
				t.Errorf("requests = %q, want %q", ranges, tt.gets)
			}
		})
	}
}

func TestHTTPStreamWithoutValidatorIsResumedWhereADigestWillTell(t *testing.T) {
	want := content(megabyte)
	h, _ := serve(t, &webServer{t: t, body: want, breakAfter: breakAt(1000)})
	image := stat(t, h)
	image.Digest = sha256Of(want)
	if got, err := fetch(t, h, image); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// rest answers a request for the rest with a range and a body of the test's making.
func rest(status int, contentRange, etag string, body []byte) func(int, http.ResponseWriter, *http.Request) bool {
	return func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n < 1 {
			return false
		}
		if contentRange != "" {
			w.Header().Set("Content-Range", contentRange)
		}
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return true
	}
}

func TestHTTPStreamRefusesAnotherRest(t *testing.T) {
	want := content(megabyte)
	part := func(from, to, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from, to, total) }
	last := megabyte - 1
	tests := []struct {
		name  string
		spoil func(int, http.ResponseWriter, *http.Request) bool
		err   error
	}{
		{"the right rest", rest(206, part(1000, last, megabyte), `"1"`, want[1000:]), nil},
		{"other bytes in the rest", rest(206, part(1000, last, megabyte), `"1"`, make([]byte, megabyte-1000)), ErrDigestMismatch},
		{"another start", rest(206, part(999, last, megabyte), `"1"`, want[999:]), ErrTruncated},
		{"not to the end", rest(206, part(1000, last-1, megabyte), `"1"`, want[1000:last]), ErrTruncated},
		{"another total", rest(206, part(1000, last+1, megabyte+1), `"1"`, want[1000:]), ErrChanged},
		{"no range", rest(206, "", `"1"`, want[1000:]), ErrTruncated},
		{"not a range", rest(206, "bytes 1000-/1048576", `"1"`, want[1000:]), ErrTruncated},
		{"another ETag, the same bytes", rest(206, part(1000, last, megabyte), `"2"`, want[1000:]), nil},
		{"another ETag, other bytes", rest(206, part(1000, last, megabyte), `"2"`, make([]byte, megabyte-1000)), ErrDigestMismatch},
		{"no ETag", rest(206, part(1000, last, megabyte), "", want[1000:]), nil},
		{"the whole, under another ETag", rest(200, "", `"2"`, want), nil},
		{"the whole, changed", rest(200, "", `"2"`, make([]byte, megabyte)), ErrChanged},
		{"the whole, of another size", rest(200, "", `"2"`, want[1:]), ErrChanged},
		{"the whole, unchanged", rest(200, "", `"1"`, want), nil},
		{"it ends here", rest(416, "bytes */1000", "", nil), ErrTruncated},
		{"no such range", rest(416, "bytes */999", "", nil), ErrChanged},
		{"a failed condition", rest(412, "", "", nil), ErrChanged},
		{"gone", rest(404, "", "", nil), ErrNotFound},
		{"forbidden", rest(403, "", "", nil), ErrForbidden},
		{"broken for good", rest(500, "", "", nil), ErrTruncated},
		{"more than the rest", func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n < 1 {
				return false
			}
			w.Header().Set("Content-Range", part(1000, last, megabyte))
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(206)
			w.(http.Flusher).Flush() // in chunks, without a length
			_, _ = w.Write(want[1000:])
			_, _ = w.Write([]byte("more"))
			return true
		}, ErrChanged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := serve(t, &webServer{t: t, body: want, etag: `"1"`, breakAfter: breakAt(1000), spoil: tt.spoil})
			image := stat(t, h)
			image.Digest = sha256Of(want)
			got, err := fetch(t, h, image)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err == nil && !bytes.Equal(got, want) {
				t.Error("other bytes")
			}
			if errors.Is(tt.err, ErrTruncated) && errors.Is(err, ErrUnavailable) {
				t.Errorf("%v is two errors", err)
			}
		})
	}
}

func TestHTTPStreamLies(t *testing.T) {
	want := content(megabyte)
	get := func(serve func(w http.ResponseWriter)) func(int, http.ResponseWriter, *http.Request) bool {
		return func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n >= 0 {
				w.Header().Set("ETag", `"1"`)
				serve(w)
			}
			return n >= 0
		}
	}
	chunked := func(body []byte) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(body)
		}
	}
	tests := []struct {
		name  string
		spoil func(int, http.ResponseWriter, *http.Request) bool
		err   error
	}{
		{"in chunks, as announced", get(chunked(want)), nil},
		{"in chunks, more", get(chunked(append(content(megabyte), 'x'))), ErrChanged},
		{"in chunks, less", get(chunked(want[:1000])), ErrTruncated},
		{"another length", get(func(w http.ResponseWriter) { _, _ = w.Write(want[:1000]) }), ErrChanged},
		{"another ETag", func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n >= 0 {
				w.Header().Set("ETag", `"2"`)
				http.ServeContent(w, r, "", longAgo, bytes.NewReader(want))
			}
			return n >= 0
		}, nil},
		{"no validators any more", func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n >= 0 {
				_, _ = w.Write(want)
			}
			return n >= 0
		}, nil},
		{"a range where none was asked for", get(func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 0-1048575/1048576")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(want)
		}), ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := serve(t, &webServer{t: t, body: want, etag: `"1"`, spoil: tt.spoil})
			got, err := fetch(t, h, stat(t, h))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err == nil && !bytes.Equal(got, want) {
				t.Error("other bytes")
			}
		})
	}
}

func TestHTTPStreamOfUnknownSize(t *testing.T) {
	want := content(megabyte)
	h, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/images/a.raw" {
			http.NotFound(w, r)
			return
		}
		w.(http.Flusher).Flush()
		_, _ = w.Write(want)
	}))
	image := stat(t, h)
	if image.SizeBytes != -1 {
		t.Fatalf("size = %d, want -1", image.SizeBytes)
	}
	if got, err := fetch(t, h, image); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func TestHTTPOpenUnavailableIsRepeated(t *testing.T) {
	want := content(1000)
	s := &webServer{t: t, body: want, etag: `"1"`, spoil: func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 0 || n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return n == 0 || n == 1
	}}
	h, _ := serve(t, s)
	if got, err := fetch(t, h, stat(t, h)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if got := len(s.ranges()); got != 3 {
		t.Errorf("%d requests, want 3", got)
	}
}

func BenchmarkHTTP(b *testing.B) {
	body := content(256 << 20)
	h, server := serve(b, &webServer{t: b, body: body, etag: `"1"`})
	image := stat(b, h)
	read := func(b *testing.B, open func() (io.ReadCloser, error)) {
		p := make([]byte, 1<<20)
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			r, err := open()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, p); err != nil {
				b.Fatal(err)
			}
			_ = r.Close()
		}
	}
	b.Run("source", func(b *testing.B) {
		read(b, func() (io.ReadCloser, error) { return h.Open(b.Context(), image) })
	})
	b.Run("net/http alone", func(b *testing.B) {
		read(b, func() (io.ReadCloser, error) {
			r, err := server.Client().Get(server.URL + "/images/a.raw")
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
	})
}
