package glance

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Two pages, as Glance gives them.
func TestImagesAreListedPageByPage(t *testing.T) {
	f := &fakeGlance{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/v2/images" || r.Header.Get("X-Auth-Token") != "mine" || q.Get("status") != "active" || q.Get("tag") != "golden" || q.Get("os_distro") != "debian" || q.Get("owner") != "9ac9" {
			http.Error(w, "asked for "+r.URL.String(), http.StatusBadRequest)
			return
		}
		if q.Get("marker") == "" {
			fmt.Fprintf(w, `{"images":[{"id":"3","name":"debian-13","created_at":"2026-11-20T13:27:00Z"},{"id":"2","name":"fedora","created_at":"2026-10-20T13:27:00Z"}],
				"next":"/v2/images?marker=2&%s"}`, r.URL.RawQuery)
			return
		}
		fmt.Fprint(w, `{"images":[{"id":"1","name":"debian-12","os_hash_value":"ab","created_at":"2026-09-20T13:27:00Z"}]}`)
	}))
	t.Cleanup(f.Close)
	s, _ := f.source(t)
	m := imagesource.Match{Pattern: "debian-*", Tag: "golden", Property: "os_distro=debian", Owner: "9ac9"}
	got, err := s.List(t.Context(), m)
	if err != nil || len(got) != 2 || got[0].ID != "3" || got[1].ID != "1" || got[1].Name != "debian-12" || got[0].Stamp == got[1].Stamp {
		t.Errorf("got %+v, %v, want 3 and 1", got, err)
	}
	for _, m := range []imagesource.Match{{Property: "golden"}, {Property: "=x"}, {Property: "status=queued"}, {Pattern: "["}} {
		if _, err := s.List(t.Context(), m); !errors.Is(err, imagesource.ErrRefused) {
			t.Errorf("%+v: %v, want ErrRefused", m, err)
		}
	}
	if _, err := s.List(t.Context(), imagesource.Match{Tag: "other"}); err == nil {
		t.Error("an answer that refuses was taken for a list")
	}
}
