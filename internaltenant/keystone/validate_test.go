package keystone

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
