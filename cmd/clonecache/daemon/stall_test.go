package daemon

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/api"
)

// A server that takes requests and says nothing is given up after stall_timeout: the request is answered, and does
// not wait for the default.
func TestAServerThatSaysNothingIsGivenUp(t *testing.T) {
	ended := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	defer web.Close()
	defer close(ended)
	cfg, _ := parse(t, "stall_timeout = \"1s\"\n"+one+"[[image_source]]\nname = \"web\"\nkind = \"http\"\nurl = \""+web.URL+"\"\n")
	d := run(t, cfg)
	const wellBelowTheDefault = 20 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), wellBelowTheDefault)
	defer cancel()
	_, err := d.CreateVolume(ctx, api.CreateRequest{Backend: "local", Image: "web:a.raw", Volume: "v"}, nil)
	if err == nil || api.Explain(err).Code != "image_source_unavailable" {
		t.Errorf("got %v, want image_source_unavailable", err)
	}
}
