package imagesource

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are net.Pipes, so that a synctest bubble's clock covers them.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// serveInBubble runs a server and a source in the bubble, with its clock.
func serveInBubble(t *testing.T, handler http.Handler) *HTTP {
	t.Helper()
	listener := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case listener.accept <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	})
	h, err := NewHTTP(HTTPConfig{
		Name: "web", URL: "http://images.example.org/images", Client: &http.Client{Transport: transport}, Stall: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// stalling writes some bytes of what it is asked for, and then nothing until the client has gone.
func stalling(stalls int, body []byte) *webServer {
	return &webServer{body: body, etag: `"1"`, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n < 0 || n >= stalls {
			return false
		}
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(&stall{ResponseWriter: w, gone: r.Context().Done(), left: 100_000}, r, "", time.Time{}, bytes.NewReader(body))
		return true
	}}
}

type stall struct {
	http.ResponseWriter
	gone <-chan struct{}
	left int
}

func (s *stall) Write(p []byte) (int, error) {
	if len(p) <= s.left {
		s.left -= len(p)
		return s.ResponseWriter.Write(p)
	}
	_, _ = s.ResponseWriter.Write(p[:s.left])
	s.ResponseWriter.(http.Flusher).Flush()
	<-s.gone
	return 0, net.ErrClosed
}

func TestHTTPStreamResumesAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := content(megabyte)
		s := stalling(3, want)
		h := serveInBubble(t, s)
		image := stat(t, h)
		start := time.Now()
		got, err := fetch(t, h, image)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		if took := time.Since(start); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("three stalls of 10 s took %v", took)
		}
		if n := len(s.ranges()); n != 4 {
			t.Errorf("%d requests, want 4", n)
		}
	})
}

func TestHTTPStreamThatOnlyStallsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serveInBubble(t, &webServer{body: content(megabyte), etag: `"1"`, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n >= 0 {
				<-r.Context().Done()
			}
			return n >= 0
		}})
		start := time.Now()
		_, err := fetch(t, h, stat(t, h))
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), errStalled.Error()) {
			t.Errorf("error = %v, want ErrUnavailable for a stall", err)
		}
		// Six tries of 10 s, and waits of about 0.5, 1, 2, 4 and 8 s between them.
		if took := time.Since(start); took < 67*time.Second || took > 84*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestAStallThatCannotBeResumedIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := content(megabyte)
		h := serveInBubble(t, &webServer{body: body, spoil: func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n < 0 {
				return false
			}
			http.ServeContent(&stall{ResponseWriter: w, gone: r.Context().Done(), left: 100_000}, r, "", time.Time{}, bytes.NewReader(body))
			return true
		}})
		_, err := fetch(t, h, stat(t, h))
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), "at byte 100000 of") {
			t.Errorf("error = %v, want ErrUnavailable that says where it stalled", err)
		}
	})
}

func TestAStatOfASilentServerIsBoundedInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serveInBubble(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		start := time.Now()
		_, err := h.Stat(t.Context(), "a.raw")
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), errStalled.Error()) {
			t.Errorf("error = %v, want ErrUnavailable for a stall", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("gave up after %v, want the 10 s of one stall", took)
		}
	})
}

func TestASlowConsumerIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := content(megabyte)
		s := stalling(0, want)
		h := serveInBubble(t, s)
		r, err := h.Open(t.Context(), stat(t, h))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got bytes.Buffer
		for p := make([]byte, 300_000); err == nil; {
			time.Sleep(time.Hour)
			var n int
			n, err = io.ReadFull(r, p)
			got.Write(p[:n])
		}
		if !bytes.Equal(got.Bytes(), want) || len(s.ranges()) != 1 {
			t.Errorf("%d bytes by %d requests, %v; want %d by 1", got.Len(), len(s.ranges()), err, len(want))
		}
	})
}

func TestHTTPStreamEndsWithItsContextAndItsClose(t *testing.T) {
	for name, end := range map[string]func(context.CancelFunc, io.Closer){
		"context": func(cancel context.CancelFunc, _ io.Closer) { cancel() },
		"close":   func(_ context.CancelFunc, r io.Closer) { _ = r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serveInBubble(t, stalling(1, content(megabyte)))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r, err := h.Open(ctx, stat(t, h))
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				start := time.Now()
				ended := make(chan error, 1)
				go func() {
					_, err := io.Copy(io.Discard, r)
					ended <- err
				}()
				synctest.Wait() // it waits for a byte that does not come
				end(cancel, r)
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("read = %v, want context.Canceled", err)
				}
				if took := time.Since(start); took > 0 {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

func TestSumsThatStallAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serveInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Length", "1")
			w.Header().Set("ETag", `"1"`)
		}))
		for _, want := range []time.Duration{5 * time.Second, 0} { // then it is known
			start := time.Now()
			if image, err := h.Stat(t.Context(), "a.raw"); err != nil || !image.Digest.IsZero() {
				t.Errorf("stat = %s, %v", image.Digest, err)
			}
			if took := time.Since(start); took > want {
				t.Errorf("it took %v, want at most %v", took, want)
			}
		}
		time.Sleep(10 * time.Second) // of the bubble's clock: asking for the list, which others may wait for, ends too
	})
}

func TestBackoffNeedsNoClockOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serveInBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := h.Stat(ctx, "a.raw"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stat = %v, want that waiting ends with the deadline", err)
		}
	})
}
