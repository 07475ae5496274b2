package glanceapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// A client that takes nothing any more is given up, whether the image is kept or on its way, and holds nothing then. Who looks
// for that is served by a server that has the usual patience, on the same cache: a busy machine may take longer for a pace.
func TestAClientThatTakesNothingIsGivenUp(t *testing.T) {
	const size = 24 << 20
	var config glanceapi.Config
	f := newFront(t, keeping, func(c *glanceapi.Config, _ *plugin.Config) { config = *c })
	config.Patience = 300 * time.Millisecond
	hasty, err := glanceapi.New(config)
	must(t, err)
	hasty.Ready(f.cache, plugin.BytesOf(f.cache))
	f.glance.set(func() { f.glance.images[plainImage] = fakeImage{data: random(size), status: "active"} })
	served := make(chan struct{}, 2)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { served <- struct{}{} }()
		hasty.ServeHTTP(w, r)
	}))
	defer s.Close()
	for _, what := range []string{"on its way", "kept"} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		must(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET /v2/images/%s/file HTTP/1.1\r\nHost: glance\r\nX-Auth-Token: demo\r\n\r\n", plainImage)
		must(t, err)
		_, err = io.ReadFull(conn, make([]byte, 1<<10))
		must(t, err)
		select {
		case <-served:
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s: the client is waited for", what)
		}
		f.keep(t, "demo", plainImage)
	}
}

// Nor is one waited for that takes nothing of what is passed on, whoever it is.
func TestAClientThatTakesNothingOfGlancesAnswerIsGivenUp(t *testing.T) {
	f := newFront(t, anonymous, func(c *glanceapi.Config, _ *plugin.Config) { c.Patience = 3 * time.Second })
	f.glance.set(func() { f.glance.images[plainImage] = fakeImage{data: random(24 << 20), status: "active"} })
	served := make(chan struct{}, 2)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { served <- struct{}{} }()
		f.server.ServeHTTP(w, r)
	}))
	defer s.Close()
	for _, who := range []string{"X-Auth-Token: demo\r\n", ""} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		must(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET /v2/images/%s/file HTTP/1.1\r\nHost: glance\r\n%s\r\n", plainImage, who)
		must(t, err)
		_, err = io.ReadFull(conn, make([]byte, 1<<10))
		must(t, err)
		select {
		case <-served:
		case <-time.After(2 * time.Minute):
			t.Errorf("%q: the client is waited for", who)
		}
	}
}

// Nobody fills the memory with a header, before it is known who that is.
func TestAHeaderHasABound(t *testing.T) {
	f := newFront(t)
	listeners, err := glanceapi.Listen(t.Context(), glanceapi.ListenConfig{Addresses: []string{"127.0.0.1:0"}})
	must(t, err)
	serving := f.server.Serve(listeners)
	for n, want := range map[int]int{30 << 10: http.StatusTeapot, 300 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listeners[0].Addr().String()+"/v2/schemas/image", http.NoBody)
		must(t, err)
		r.Header.Set("X-Auth-Token", strings.Repeat("x", n))
		answer, err := http.DefaultClient.Do(r)
		must(t, err)
		must(t, answer.Body.Close())
		if answer.StatusCode != want {
			t.Errorf("a token of %d bytes: %d, want %d", n, answer.StatusCode, want)
		}
	}
	must(t, serving.Shutdown(t.Context()))
}

// A client that announces a body and does not send it is given up, whoever it is and whatever it asks for.
func TestABodyThatDoesNotComeIsGivenUp(t *testing.T) {
	f := newFront(t, keeping, func(c *glanceapi.Config, _ *plugin.Config) { c.Patience = 300 * time.Millisecond })
	for _, what := range []string{"PUT /v2/cache/" + plainImage, "POST /v2/images", "GET /v2/images/" + plainImage + "/file"} {
		conn, err := net.Dial("tcp", f.Listener.Addr().String())
		must(t, err)
		defer conn.Close()
		must(t, conn.SetDeadline(time.Now().Add(2*time.Minute)))
		_, err = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: glance\r\nContent-Length: 100\r\n\r\n{", what)
		must(t, err)
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%s: %v, want an end", what, err)
		}
	}
}

// One that takes its time is not, as long as it goes on, nor is one whose answer takes longer than its body may. Time alone is what
// is tried here: a piece has three quarters of the limit to spare, whatever else the machine does.
func TestASlowUploadGoesOn(t *testing.T) {
	const limit, pieces = 4 * time.Second, 5
	var got int64
	glance := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(limit + limit/4)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer glance.Close()
	f := newFront(t, func(c *glanceapi.Config, _ *plugin.Config) {
		c.Patience = limit
		c.Glance = upstreamOf{glance}
	})
	from, to := io.Pipe()
	go func() {
		for range pieces {
			_, _ = to.Write([]byte("piece"))
			time.Sleep(limit / 4)
		}
		_ = to.Close()
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.URL+"/v2/images/"+queuedImage+"/file", from)
	must(t, err)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, answer.Body.Close())
	if answer.StatusCode != http.StatusNoContent || got != pieces*int64(len("piece")) {
		t.Errorf("%d, Glance got %d bytes", answer.StatusCode, got)
	}
}

// A body that is none of a download's business is in nobody's way.
func TestADownloadWithABody(t *testing.T) {
	f := newFront(t, keeping)
	for _, what := range []string{"on its way", "kept"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/v2/images/"+plainImage+"/file", io.MultiReader(strings.NewReader("{}")))
		must(t, err)
		r.Header.Set("X-Auth-Token", "demo")
		answer, err := http.DefaultClient.Do(r)
		must(t, err)
		body, err := io.ReadAll(answer.Body)
		must(t, errors.Join(err, answer.Body.Close()))
		if answer.StatusCode != http.StatusOK || string(body) != string(f.glance.images[plainImage].data) {
			t.Errorf("%s: %d, %d bytes", what, answer.StatusCode, len(body))
		}
		f.keep(t, "demo", plainImage)
	}
}

// upstreamOf is a Glance at a test's server.
type upstreamOf struct{ *httptest.Server }

func (u upstreamOf) Upstream(context.Context) (*url.URL, http.RoundTripper, error) {
	at, err := url.Parse(u.URL)
	return at, u.Client().Transport, err
}
