package glanceapi_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// A client that takes nothing any more is given up, whether the image is kept or on its way, and holds nothing then.
func TestAClientThatTakesNothingIsGivenUp(t *testing.T) {
	const size = 24 << 20
	f := newFront(t, keeping, func(c *glanceapi.Config, _ *plugin.Config) { c.Patience = 300 * time.Millisecond })
	f.glance.set(func() { f.glance.images[plainImage] = fakeImage{data: random(size), status: "active"} })
	served := make(chan struct{}, 2)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { served <- struct{}{} }()
		f.server.ServeHTTP(w, r)
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
