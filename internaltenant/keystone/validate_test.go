package keystone

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/internaltenant"
)

func TestWhoseATokenIs(t *testing.T) {
	f := newFake(t)
	session, err := open(t, f.config(t)).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status := http.StatusOK
	keystone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := r.Header.Get("X-Auth-Token") == session.Token() && r.Header.Get("X-Subject-Token") == session.Token()
		switch {
		case r.Method != http.MethodGet || r.URL.Path != "/v3/auth/tokens" || !own:
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, refusedBody)
		case status != http.StatusOK:
			w.WriteHeader(status)
		default:
			f.answer(w, "cache", []string{"admin", "member"})
		}
	}))
	defer keystone.Close()
	c := f.config(t)
	c.AuthURL = keystone.URL
	for name, tokens := range map[string]*Tokens{"the account's": open(t, c).Tokens(""), "another": open(t, f.config(t)).Tokens(keystone.URL)} {
		if got, want := tokens.URL(), keystone.URL+"/v3"; got != want {
			t.Errorf("%s: URL %q, want %q", name, got, want)
		}
		b, err := tokens.Validate(t.Context(), session.Token())
		if err != nil || b.UserID != "u-owner" || b.ProjectID != "p-cache" || !b.Has("x", "Admin") || b.Has("reader") || b.ExpiresAt.IsZero() {
			t.Errorf("%s: got %+v, %v", name, b, err)
		}
		if _, err := tokens.Validate(t.Context(), "s3cr3t"); !errors.Is(err, ErrToken) {
			t.Errorf("%s: another token: %v, want ErrToken", name, err)
		}
	}
	for at, want := range map[int]error{401: ErrToken, 404: ErrToken, 500: internaltenant.ErrUnavailable, 429: internaltenant.ErrUnavailable} {
		status = at
		_, err := open(t, c).Tokens("").Validate(t.Context(), session.Token())
		if !errors.Is(err, want) {
			t.Errorf("Keystone answers %d: %v, want %v", at, err, want)
		}
	}
	keystone.Close()
	_, err = open(t, c).Tokens("").Validate(t.Context(), session.Token())
	if !errors.Is(err, internaltenant.ErrUnavailable) {
		t.Errorf("Keystone is gone: %v", err)
	}
}

// What answers at Keystone's URL may be something else, and its certificate may be nobody's.
func TestWhetherAKeystoneAnswers(t *testing.T) {
	says := `{"version": {"id": "v3.14", "status": "stable"}}`
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v3/" || r.Header.Get("X-Auth-Token") != "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, says)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, url, ca string
		want          error
	}{
		{"a Keystone", server.URL + "/v3", ca, nil},
		{"not below that path", server.URL + "/identity", ca, internaltenant.ErrUnavailable},
		{"no authority known", server.URL, "", internaltenant.ErrUnavailable},
		{"no such file", server.URL, ca + ".not", internaltenant.ErrNoTenant},
	} {
		if err := TokensAt(test.url, test.ca).Answer(t.Context()); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	says = `{"versions": []}`
	if err := TokensAt(server.URL, ca).Answer(t.Context()); !errors.Is(err, internaltenant.ErrUnavailable) {
		t.Errorf("something else: %v", err)
	}
}
