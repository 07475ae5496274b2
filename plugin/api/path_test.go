package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// wiped counts deletions of everything.
type wiped struct {
	*fakeService
	times atomic.Int64
}

func (w *wiped) DeleteAllEntries(context.Context, backends.Name, plugin.ForceDetach) (plugin.PruneResult, error) {
	w.times.Add(1)
	return plugin.PruneResult{}, nil
}

// net/http's mux sends /v1/entries/. on to /v1/entries, whose deletion is of all entries.
func TestADotIsNoEntry(t *testing.T) {
	all := &wiped{fakeService: newFake()}
	d := startDaemon(t, all, api.ServerConfig{})
	for _, path := range []string{
		"/v1/entries/.", "/v1/entries/./", "/v1/entries//", "/v1//entries", "/v1/entries/x/..", "/v1/entries/%2e", "/v1/volumes/../entries", "/v1/volumes/%2e%2e/entries",
	} {
		if status, body := d.raw(t, http.MethodDelete, path, ""); status != http.StatusNotFound || !strings.Contains(body, "no_such_route") {
			t.Errorf("DELETE %s = %d %s, want no_such_route", path, status, body)
		}
	}
	for _, id := range []string{"", ".", ".."} {
		if _, err := d.client.DeleteEntry(t.Context(), id, false); apiError(t, err).Code != "no_such_route" {
			t.Errorf("deleting entry %q = %v", id, err)
		}
		if err := d.client.DeleteVolume(t.Context(), "local", backends.VolumeName(id)); apiError(t, err).Code != "no_such_route" {
			t.Errorf("deleting volume %q = %v", id, err)
		}
	}
	if n := all.times.Load(); n != 0 {
		t.Errorf("all entries were deleted %d times", n)
	}
	if _, err := d.client.DeleteAllEntries(t.Context(), "", false); err != nil || all.times.Load() != 1 {
		t.Errorf("deleting all = %v, want once", err)
	}
}

// Tokens are for the one server, and so is a deletion.
func TestTheClientFollowsNoRedirect(t *testing.T) {
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	c, err := api.NewClient(server.URL, api.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateVolume(t.Context(), api.CreateRequest{Image: "a", Volume: "v", Token: "geheim"}, nil)
	if e := apiError(t, err); e.Code != api.CodeBadAnswer || asked.Load() != 0 {
		t.Errorf("error = %+v after %d requests to another server, want %s and none", e, asked.Load(), api.CodeBadAnswer)
	}
}
