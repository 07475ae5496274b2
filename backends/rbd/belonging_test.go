//go:build ceph

package rbd

import (
	"testing"

	"github.com/clonecache/clonecache/backends"
)

// A store stays the same when it is opened anew, by another daemon, under another name, or once its index is
// lost; and all of them see whose it is. Another namespace is another store.
func TestAPoolIsTheSameStoreForAll(t *testing.T) {
	c := config(t)
	first := openBackend(t, c)
	is, err := first.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.HoldFor(t.Context(), backends.Holder{Catalog: "a", Host: "h"}); err != nil {
		t.Fatal(err)
	}
	if err := first.ownImages().Delete(indexObject); err != nil {
		t.Fatal(err)
	}
	other := c
	other.Name, other.Holder = "renamed", "another-daemon"
	again, err := openBackend(t, other).Identify(t.Context())
	if err != nil || again.ID != is.ID {
		t.Errorf("opened anew: %+v, %v, want %+v", again, err, is)
	}
	seen, err := Look(t.Context(), other)
	if err != nil || seen.ID != is.ID || seen.By.Catalog != "a" || len(seen.Places) != 2 {
		t.Errorf("looked at: %+v, %v", seen, err)
	}
	elsewhere, err := Look(t.Context(), config(t))
	if err != nil || elsewhere.ID == is.ID || elsewhere.By.Catalog != "" {
		t.Errorf("another namespace: %+v, %v", elsewhere, err)
	}
}

// What an older version noted under a host's name is the daemon's that was called so.
func TestClientsOfOlderVersionsAreOurs(t *testing.T) {
	c := config(t)
	c.Holder = "host:/state"
	was := openBackend(t, c)
	createImage(t, was.own(), "left")
	id, err := idOf(was.own(), "left")
	if err != nil {
		t.Fatal(err)
	}
	c.Holder, c.Formerly = "instance", []string{"host:/state"}
	now := openBackend(t, c)
	if m, err := now.maker(now.sessions.current, id); err != nil || m == another {
		t.Errorf("made here: %v, %v, want it not to be another one's", m, err)
	}
	c.Holder, c.Formerly = "another", nil
	stranger := openBackend(t, c)
	if m, err := stranger.maker(stranger.sessions.current, id); err != nil || m == own {
		t.Errorf("made by another: %v, %v", m, err)
	}
}
