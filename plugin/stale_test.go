package plugin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

func TestHitsGoOnWhileTheSourceIsDown(t *testing.T) {
	content := random(mib)
	f := &folder{image: content, listed: content}
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		f.ServeHTTP(w, r)
	}))
	defer server.Close()
	web, err := imagesource.NewHTTP(imagesource.HTTPConfig{Name: "web", URL: server.URL, Backoff: time.Millisecond, ServeStale: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, withSource(web))
	r.holds(t, r.create(t, "web:latest.raw", "v1", 0), content)
	down.Store(true)
	for _, volume := range []string{"v2", "v3"} {
		a := r.create(t, "web:latest.raw", volume, 0)
		if a.Outcome != plugin.Hit || !strings.Contains(a.Detail, "does not answer since") {
			t.Errorf("%s: outcome %s, detail %q, want a hit that says so", volume, a.Outcome, a.Detail)
		}
		r.holds(t, a, content)
	}
	sources := r.Sources()
	if s := sources[len(sources)-1]; s.Name != "web" || s.State != "down" || s.StaleAnswers != 2 || s.Since == nil || !strings.Contains(s.Error, "503") {
		t.Errorf("source = %+v, want down with 2 answers", s)
	}
	if entries := r.wantEntries(t, 1); len(entries) == 1 {
		if _, err := r.DeleteEntry(t.Context(), entries[0].ID, true); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.CreateVolume(t.Context(), plugin.Request{Image: "web:latest.raw", Volume: "v4"})
	if !errors.Is(err, imagesource.ErrUnavailable) || !strings.Contains(err.Error(), "is not cached") {
		t.Errorf("not cached = %v, want ErrUnavailable", err)
	}
	r.noVolume(t, "v4")
}
