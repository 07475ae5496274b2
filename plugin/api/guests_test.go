package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// guestbook knows people by their tokens.
type guestbook map[string]api.Identity

func (g guestbook) Guest(_ context.Context, token string) (api.Identity, bool, error) {
	if token == "while-keystone-is-down" {
		return api.Identity{}, false, errors.New("dial tcp 192.0.2.1:5000: connection refused")
	}
	who, known := g[token]
	return who, known, nil
}

func startGuests(t *testing.T, d *daemon) (url string) {
	t.Helper()
	book := guestbook{
		"token-of-a-guest-reader": {Name: "Keystone user rita", Role: api.Reader}, "token-of-a-guest-operator": {Name: "Keystone user otto", Role: api.Operator},
		"token-of-a-guest-admin": {Name: "Keystone user ada", Role: api.Admin}, "token-of-a-guest-of-no-role": {Name: "Keystone user nora"},
	}
	own := []api.TokenAccess{{File: writeToken(t, "token-of-the-reader"), Name: "the-reader", Role: api.Reader}}
	return serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{Tokens: own, Guests: book})
}

func TestGuestsDoWhatTheirRoleMay(t *testing.T) {
	fake := newFake()
	d := startDaemon(t, fake, api.ServerConfig{})
	url := startGuests(t, d)
	for _, test := range []struct {
		request, guest, bearer string
		status                 int
		says                   string
	}{
		{"GET /v1/entries", "token-of-a-guest-reader", "", 200, ""},
		{"POST /v1/entries/e1/pin", "token-of-a-guest-reader", "", 403, "role_too_low"},
		{"POST /v1/entries/e1/pin", "token-of-a-guest-operator", "", 200, ""},
		{"DELETE /v1/entries", "token-of-a-guest-operator", "", 403, "role_too_low"},
		{"DELETE /v1/entries", "token-of-a-guest-admin", "", 200, ""},
		{"GET /v1/entries", "token-of-a-guest-of-no-role", "", 403, "Keystone user nora has none of the roles"},
		{"GET /v1/entries", "token-of-nobody-at-all", "", 401, "unauthorized"},
		{"GET /v1/entries", "", "", 401, "unauthorized"},
		{"GET /v1/entries", "while-keystone-is-down", "", 503, "keystone_unavailable"},
		{"GET /healthz", "while-keystone-is-down", "", 200, ""},
		{"GET /ui", "while-keystone-is-down", "", 503, "try again later"},
		// What is the daemon's own goes before: a wrong one lets nobody in, and a right one says what its bearer may do.
		{"GET /v1/entries", "token-of-a-guest-admin", "token-of-nobody-at-all", 401, "unauthorized"},
		{"POST /v1/entries/e1/pin", "token-of-a-guest-admin", "token-of-the-reader", 403, "role_too_low"},
		{"GET /v1/entries", "while-keystone-is-down", "token-of-the-reader", 200, ""},
	} {
		status, body := askAsGuest(t, url, test.request, test.guest, test.bearer)
		if status != test.status || !strings.Contains(body, test.says) || strings.Contains(body, "192.0.2.1") {
			t.Errorf("%s with %q and %q: got %d %s, want %d with %q", test.request, test.guest, test.bearer, status, body, test.status, test.says)
		}
	}
	who := []string{}
	for _, a := range fake.acts {
		who = append(who, a.Who)
	}
	if got := strings.Join(who, ", "); got != "Keystone user otto, Keystone user ada" {
		t.Errorf("it was noted that %q did something", got)
	}
}

// askAsGuest sends a request with a token of another service's, and perhaps one of the daemon's.
func askAsGuest(t *testing.T, url, request, guest, bearer string) (status int, body string) {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if guest != "" {
		req.Header.Set("X-Auth-Token", guest)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return answerTo(t, req)
}

func TestAClientComesAsAGuest(t *testing.T) {
	d := startDaemon(t, newFake(), api.ServerConfig{})
	c, err := api.NewClient(startGuests(t, d), api.ClientConfig{KeystoneTokenFile: writeToken(t, "token-of-a-guest-reader")})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := c.Entries(t.Context(), plugin.EntryFilter{}); err != nil || len(all) != 2 {
		t.Errorf("got %d entries, %v", len(all), err)
	}
	var refused *api.Error
	if _, err := c.Prune(t.Context()); !errors.As(err, &refused) || refused.Code != "role_too_low" {
		t.Errorf("a reader's prune: %v", err)
	}
}

// caller is a guest who may come until he is revoked.
type caller struct {
	revoked, away atomic.Bool
	asked         func() // unless nil, once he was let in
}

func (c *caller) Guest(context.Context, string) (api.Identity, bool, error) {
	if c.asked != nil {
		defer c.asked()
	}
	if c.away.Load() {
		return api.Identity{}, false, errors.New("connection refused")
	}
	return api.Identity{Name: "Keystone user rita", Role: api.Reader}, !c.revoked.Load(), nil
}

// Also where it is so as soon as he was let in.
func TestEventsEndForAGuestWhoIsNobodyByThen(t *testing.T) {
	for want, change := range map[string]func(*caller){
		"unauthorized":         func(c *caller) { c.revoked.Store(true) },
		"keystone_unavailable": func(c *caller) { c.away.Store(true) },
	} {
		t.Run(want, func(t *testing.T) {
			fake, guest := newFake(), &caller{}
			guest.asked = func() { change(guest) }
			ctx, over := context.WithTimeout(t.Context(), 2*time.Minute)
			defer over()
			fake.follow = func(followed context.Context, _ plugin.EventFilter, _ func(plugin.Event) error) error {
				select {
				case <-followed.Done():
					return followed.Err()
				case <-ctx.Done():
					return nil
				}
			}
			d := startDaemon(t, fake, api.ServerConfig{GuestsEvery: time.Millisecond})
			url := serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{Guests: guest})
			status, body := askAsGuest(t, url, "GET /v1/events?follow=true", "a-token-of-keystone", "")
			if status != 200 || !strings.Contains(body, want) {
				t.Errorf("got %d %s, want the stream to end with %s", status, body, want)
			}
		})
	}
}

// What a guest follows ends as a request of his would be turned away.
func TestEventsAreFollowedAsLongAsTheGuestMay(t *testing.T) {
	for want, change := range map[string]func(*caller){
		"unauthorized":         func(c *caller) { c.revoked.Store(true) },
		"keystone_unavailable": func(c *caller) { c.away.Store(true) },
	} {
		t.Run(want, func(t *testing.T) {
			fake, guest, looks := newFake(), &caller{}, make(chan struct{})
			fake.follow = func(ctx context.Context, _ plugin.EventFilter, _ func(plugin.Event) error) error {
				close(looks)
				<-ctx.Done()
				return ctx.Err()
			}
			d := startDaemon(t, fake, api.ServerConfig{GuestsEvery: time.Millisecond})
			url := serve(t, d.server, "tcp://127.0.0.1:0", api.ListenConfig{Guests: guest})
			go func() {
				<-looks
				change(guest)
			}()
			status, body := askAsGuest(t, url, "GET /v1/events?follow=true", "a-token-of-keystone", "")
			if status != 200 || !strings.Contains(body, want) {
				t.Errorf("got %d %s, want the stream to end with %s", status, body, want)
			}
		})
	}
}
