package oci_test

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/imagesource/oci"
)

// withLogin makes a source that has one.
func withLogin(t *testing.T) func(*oci.Config) {
	t.Helper()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *oci.Config) { c.User, c.PasswordFile = "me", password }
}

// A host that a registry redirects to may ask for a login, and does not get the registry's.
func TestTheLoginStaysWithTheRegistry(t *testing.T) {
	var got atomic.Value
	got.Store("")
	var other *httptest.Server
	other = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, given := r.BasicAuth(); given {
			got.Store(user + ":" + password)
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="`+other.URL+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(other.Close)
	f := newRegistry(t)
	f.push(t, "disks/plain", "1", "application/vnd.acme.disk", "", random(1000))
	inner := f.Config.Handler
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, other.URL+"/blob", http.StatusTemporaryRedirect)
			return
		}
		inner.ServeHTTP(w, r)
	})
	if _, _, err := read(t.Context(), f.source(t, withLogin(t)), "plain:1"); !errors.Is(err, imagesource.ErrLogin) {
		t.Errorf("got %v, want %v", err, imagesource.ErrLogin)
	}
	if got.Load() != "" {
		t.Errorf("another host got the login %q", got.Load())
	}
}

// A registry that is reached by TLS may name who gives tokens, but not one without TLS.
func TestTheLoginNeverGoesInTheClear(t *testing.T) {
	var got atomic.Bool
	tokens := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _, given := r.BasicAuth()
		got.Store(got.Load() || given)
	}))
	t.Cleanup(tokens.Close)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Www-Authenticate", `Bearer realm="`+tokens.URL+`",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(secure.Close)
	f := &fakeRegistry{Server: secure}
	s := f.source(t, func(c *oci.Config) { withLogin(t)(c); c.CAFile = authorityOf(t, secure) })
	if _, err := s.Stat(t.Context(), "plain:1"); !errors.Is(err, imagesource.ErrLogin) || got.Load() {
		t.Errorf("got %v, want %v; the login was sent: %v", err, imagesource.ErrLogin, got.Load())
	}
}

// authorityOf is a file with a server's own certificate.
func authorityOf(t *testing.T, s *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Docker Hub is called otherwise than its registry, which the login and all data are asked of.
func TestDockerHub(t *testing.T) {
	for url, want := range map[string]string{"https://docker.io/library": "registry-1.docker.io", "https://quay.io/containerdisks": "quay.io"} {
		s, err := oci.New(oci.Config{Name: "hub", URL: url})
		if err != nil {
			t.Fatal(err)
		}
		if s.Host() != want {
			t.Errorf("%s is at %s, want %s", url, s.Host(), want)
		}
	}
}
