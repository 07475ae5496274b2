package glance

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin/imagesource"
)

// Only what Glance shows among the public images is public, also where it heeds no filter.
func TestPublic(t *testing.T) {
	const shown = `{"images":[{"id":%q,"visibility":%q,"status":%q,"size":7,"checksum":"ab","container_format":"ova"}]}`
	for name, c := range map[string]struct {
		id     string
		status int
		answer string
		want   error
	}{
		"public":            {id, 200, fmt.Sprintf(shown, id, "public", "active"), nil},
		"in upper case":     {strings.ToUpper(id), 200, fmt.Sprintf(shown, id, "public", "active"), nil},
		"upper case, none":  {strings.ToUpper(id), 200, `{"images":[]}`, imagesource.ErrNotFound},
		"as nobody has it":  {strings.ToUpper(id), 200, fmt.Sprintf(shown, strings.ToUpper(id), "public", "active"), imagesource.ErrNotFound},
		"none":              {id, 200, `{"images":[]}`, imagesource.ErrNotFound},
		"another one":       {id, 200, fmt.Sprintf(shown, "5472a898-2e02-47ce-a336-564e06aadf02", "public", "active"), imagesource.ErrNotFound},
		"a community's":     {id, 200, fmt.Sprintf(shown, id, "community", "active"), imagesource.ErrNotFound},
		"deactivated":       {id, 200, fmt.Sprintf(shown, id, "public", "deactivated"), imagesource.ErrNotFound},
		"without a size":    {id, 200, `{"images":[{"id":"` + id + `","visibility":"public","status":"active"}]}`, imagesource.ErrNotFound},
		"no ID":             {"nonsense", 500, ``, imagesource.ErrNotFound},
		"another form":      {"{" + id + "}", 500, ``, imagesource.ErrNotFound},
		"Glance is broken":  {id, 500, ``, imagesource.ErrUnavailable},
		"the list is gone":  {id, 404, ``, imagesource.ErrUnavailable},
		"it may not list":   {id, 403, ``, imagesource.ErrUnavailable},
		"what is no answer": {id, 200, `<html>`, imagesource.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeGlance{}
			f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if r.Header.Get("X-Auth-Token") != "mine" || q.Get("id") != "in:"+c.id || q.Get("visibility") != "public" || q.Get("status") != "active" {
					t.Errorf("asked %s as %q", r.URL, r.Header.Get("X-Auth-Token"))
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.answer)
			}))
			t.Cleanup(f.Close)
			s, _ := f.source(t)
			image, token, err := s.Public(t.Context(), c.id)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && (image.ID != id || image.SizeBytes != 7 || image.MD5 != "ab" || token != "mine") || err != nil && token != "" {
				t.Errorf("got %+v, %q", image, token)
			}
		})
	}
}

// A token of the account's that is not accepted any more is renewed, and the new one is told.
func TestPublicByARenewedToken(t *testing.T) {
	f := &fakeGlance{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Auth-Token") == "old" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"images":[{"id":%q,"visibility":"public","status":"active","size":7}]}`, id)
	}))
	t.Cleanup(f.Close)
	s, account := f.source(t)
	account.token = "old"
	if _, token, err := s.Public(t.Context(), id); err != nil || token == "old" || token == "" {
		t.Errorf("got %q, %v", token, err)
	}
}
