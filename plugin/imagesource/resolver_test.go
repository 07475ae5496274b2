package imagesource

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// shelf is a source that has some images, and for others an error.
type shelf struct {
	name   string
	images map[string]error // nil: it is there
}

func (s shelf) Name() string { return s.name }

func (s shelf) Stat(_ context.Context, id string) (Image, error) {
	err, found := s.images[id]
	if !found {
		err = ErrNotFound
	}
	return Image{Source: s.name, ID: id}, err
}

func (s shelf) Open(context.Context, Image) (io.ReadCloser, error) { return nil, ErrNotFound }

func newTestHTTP(t testing.TB, name, url string) *HTTP {
	t.Helper()
	h, err := NewHTTP(HTTPConfig{Name: name, URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestNewResolverRefuses(t *testing.T) {
	for name, sources := range map[string][]Source{
		"a name twice": {shelf{name: "a"}, shelf{name: "a"}}, "no name": {shelf{}},
		"a reserved name": {shelf{name: "http"}}, "a colon": {shelf{name: "a:b"}},
	} {
		if _, err := NewResolver(sources); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestResolve(t *testing.T) {
	down, refused := errors.Join(ErrUnavailable), errors.Join(ErrRefused)
	r, err := NewResolver([]Source{
		shelf{"a", map[string]error{"one": nil, "both": nil, "a:b": nil, "half": nil, "bad": refused, "locked": ErrForbidden}},
		shelf{"b", map[string]error{"two": nil, "both": nil, "half": down, "down": down, "bad": refused}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		ref, source, id string
		err             error
	}{
		{"a:one", "a", "one", nil},
		{"b:one", "b", "one", nil}, // not asked
		{"a:x:y", "a", "x:y", nil},
		{"one", "a", "one", nil},
		{"two", "b", "two", nil},
		{"half", "a", "half", nil},
		{"both", "", "", ErrAmbiguous},
		{"three", "", "", ErrNotFound},
		{"", "", "", ErrNotFound},
		{"down", "", "", ErrUnavailable},
		{"locked", "", "", ErrForbidden},
		{"bad", "", "", ErrRefused},
		{"c:one", "", "", ErrNotFound},
		{"http://h/a.raw", "", "", ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.ref, func(t *testing.T) {
			s, id, err := r.Resolve(t.Context(), tt.ref)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err == nil && (s.Name() != tt.source || id != tt.id) {
				t.Errorf("resolved to %s, %q; want %s, %q", s.Name(), id, tt.source, tt.id)
			}
		})
	}
	_, _, err = r.Resolve(t.Context(), "both")
	if err == nil || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("%v does not name the sources", err)
	}
	_, _, err = r.Resolve(t.Context(), "c:one")
	if err == nil || !strings.Contains(err.Error(), `no image source of this name: "c"; there is a, b`) {
		t.Errorf("%v does not say that there is no source c", err)
	}
}

func TestResolveURL(t *testing.T) {
	r, err := NewResolver([]Source{
		shelf{name: "a"},
		newTestHTTP(t, "root", "https://images.example.org"),
		newTestHTTP(t, "debian", "https://images.example.org/debian/"),
		newTestHTTP(t, "local", "http://127.0.0.1:8000/x"),
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		ref, source, id string // no source: refused
	}{
		{"https://images.example.org/debian/12.qcow2", "debian", "12.qcow2"},
		{"HTTPS://Images.Example.Org:443/debian/12.qcow2", "debian", "12.qcow2"},
		{"https://images.example.org/ubuntu/24.img", "root", "ubuntu/24.img"},
		{"http://127.0.0.1:8000/y/z", "local", "http://127.0.0.1:8000/y/z"},
		{"http://127.0.0.1:8000/x/z%20z", "local", "z z"},
		{"http://images.example.org/debian/12.qcow2", "", ""},
		{"https://images.example.org:444/debian/12.qcow2", "", ""},
		{"https://images.example.org.evil.example/debian/12.qcow2", "", ""},
		{"https://images.example.org@evil.example/12.qcow2", "", ""},
		{"https://evil.example/12.qcow2?geheim", "", ""},
		{"https://me:geheim@images.example.org/debian/12.qcow2", "", ""},
		{"https://images.example.org/debian/12.qcow2?sig=geheim", "debian", "12.qcow2?sig=geheim"},
		{"https://images.example.org/debian/12.qcow2?~50afa6ac96ba", "", ""},
		{"https://images.example.org/debian/12.qcow2#geheim", "", ""},
		{"https://images.example.org/debian/../../12.qcow2", "", ""},
		{"http://127.0.0.1:8000", "", ""},
		{"http://", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.ref, func(t *testing.T) {
			s, id, err := r.Resolve(t.Context(), tt.ref)
			if tt.source == "" {
				if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "geheim") {
					t.Fatalf("error = %v, want ErrRefused without secrets", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Name() != tt.source || id != tt.id {
				t.Errorf("resolved to %s, %q; want %s, %q", s.Name(), id, tt.source, tt.id)
			}
		})
	}
}

// FuzzResolveRef proves that no reference leaves the configured host, or the directory below its URL
// where it is not a whole URL.
func FuzzResolveRef(f *testing.F) {
	for _, seed := range []string{
		"web:a.raw", "a.raw", "../a", "web:/a", "https://h.example/i/a", "https://h.example/../a", "https://u@h.example/i/a",
		"https://h.example\\@evil/i/a", "//evil/a", "https://h.example/i/%2e%2e/a", "web:https://h.example:443/b", "web:http://h.example/b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		offline := roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Scheme != "https" || r.URL.Host != "h.example" || r.URL.User != nil {
				t.Errorf("%q asks %s", ref, r.URL)
			}
			return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
		})
		h, err := NewHTTP(HTTPConfig{Name: "web", URL: "https://h.example/i", Client: &http.Client{Transport: offline}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewResolver([]Source{h})
		if err != nil {
			t.Fatal(err)
		}
		s, id, err := r.Resolve(t.Context(), ref)
		if err != nil {
			if errors.Is(err, ErrUnavailable) {
				t.Errorf("%q: %v", ref, err)
			}
			return
		}
		u, canonical, err := s.(*HTTP).locate(id)
		if err != nil {
			return
		}
		if u.Host != "h.example" || u.Scheme != "https" || u.User != nil || u.Fragment != "" {
			t.Errorf("%q means %s", ref, u)
		}
		if strings.Contains("/"+u.Path+"/", "/../") || !isURL(canonical) && !strings.HasPrefix(u.Path, "/i/") {
			t.Errorf("%q means %s, remembered as %q", ref, u, canonical)
		}
		if u.RawQuery != "" { // it is not kept
			if _, query, _ := strings.Cut(canonical, "?"); query != "" && !strings.HasPrefix(query, keptQuery) {
				t.Errorf("%q is remembered as %q", ref, canonical)
			}
			return
		}
		if again, twice, err := s.(*HTTP).locate(canonical); err != nil || *again != *u || twice != canonical {
			t.Errorf("%q is %q, and once more %q, %v", ref, canonical, twice, err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
