package imagesource

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// headless spoils each HEAD for an image, and nothing else.
func headless(answer func(http.ResponseWriter, *http.Request)) *webServer {
	return &webServer{body: content(megabyte), etag: `"1"`, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n < 0 {
			answer(w, r)
		}
		return n < 0
	}}
}

func TestHTTPStatWhereHeadIsNotAnswered(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"the server hangs up":   func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"the server is silent":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"the server has faults": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serveInBubble(t, headless(answer))
				if image := stat(t, h); image.SizeBytes != megabyte {
					t.Errorf("got %d bytes", image.SizeBytes)
				}
				start := time.Now()
				if stat(t, h); time.Since(start) > time.Second {
					t.Errorf("the second look took %v", time.Since(start))
				}
			})
		})
	}
}

// A server that keeps a connection up by a byte now and then keeps no fill for ever.
func TestHTTPStreamThatTricklesIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serveInBubble(t, &webServer{body: content(megabyte), etag: `"1"`, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n < 0 {
				return false
			}
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Length", "1048576")
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte{1}); err != nil {
					break
				}
				w.(http.Flusher).Flush()
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
				}
			}
			return true
		}})
		image := stat(t, h)
		start := time.Now()
		got, err := fetch(t, h, image)
		if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrTruncated) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if took := time.Since(start); took > 3*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestHTTPEncodingThatTheNameHasToo(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(content(megabyte))
	_ = w.Close()
	for _, tt := range []struct {
		name, encoding string
		want           error
	}{
		{"a.raw.gz", "x-gzip", nil}, {"A.RAW.GZ", "gzip", nil}, {"a.raw.gz", "identity", nil},
		{"a.raw", "gzip", ErrRefused}, {"a.raw.gz", "br", ErrRefused}, {"a.raw.gz", "gzip, gzip", ErrRefused},
	} {
		h, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/images/"+tt.name {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Encoding", tt.encoding)
			w.Header().Set("ETag", `"1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(packed.Bytes()))
		}))
		image, err := h.Stat(t.Context(), tt.name)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s as %s: %v", tt.name, tt.encoding, err)
		}
		if err != nil {
			continue
		}
		if got, err := fetch(t, h, image); err != nil || !bytes.Equal(got, packed.Bytes()) {
			t.Errorf("%s as %s: %d bytes, %v", tt.name, tt.encoding, len(got), err)
		}
	}
}
