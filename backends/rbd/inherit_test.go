//go:build ceph

package rbd

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

// Of a host that is gone for good nothing stays half made, though nobody knows the names; what is whole, and what others have made,
// stays. Should the host live after all, it begins anew.
func TestWhatALostHostHadHalfMadeIsRemoved(t *testing.T) {
	c := config(t)
	lostConfig := c
	lostConfig.Holder = "lost-host"
	b, lost := openBackend(t, c), openBackend(t, lostConfig)
	commitImage(t, b, "e-1", 8<<20)
	var want []backends.VolumeName
	for i, state := range halfMade {
		name := fmt.Sprintf("half-%d", i)
		state.make(t, lost.own(), name)
		want = append(want, backends.VolumeName(name))
	}
	cloneOf(t, lost.ownImages(), imageName("e-1"), snapshotName, lost.own(), "half-cloned")
	createImage(t, lost.own(), "parent")
	writeTo(t, lost.own(), "parent")
	snapshot(t, lost.own(), "parent", "s")
	cloneOf(t, lost.own(), "parent", "s", lost.own(), "half-direct")
	want = append(want, "half-cloned", "half-direct")
	var stays []string
	for _, made := range []struct {
		name string
		by   *tested
	}{{"whole", lost}, {"mine", b}} {
		if _, err := made.by.Clone(t.Context(), "e-1", specOf(made.name, "t")); err != nil {
			t.Fatal(err)
		}
		stays = append(stays, made.name)
	}
	halfMade[0].make(t, b.own(), "my-half")
	createImage(t, b.strangers(), "strangers-blank")
	stays = append(stays, "my-half", "strangers-blank", "parent")

	if _, err := b.Inherit(t.Context(), c.Holder); err == nil {
		t.Error("a daemon inherits from itself")
	}
	got, err := b.Inherit(t.Context(), "lost-host")
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("removed: %v, %v, want %v", got, err, want)
	}
	for _, name := range want {
		wantNothing(t, b, string(name))
	}
	for _, name := range stays {
		if _, err := anyID(b.strangers(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := b.Inherit(t.Context(), "lost-host"); err != nil || len(got) > 0 {
		t.Errorf("again: %v, %v", got, err)
	}

	_, err = lost.Clone(t.Context(), "e-1", specOf("late", "t"))
	if !errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("a clone by a host that was shut out: %v, want ErrUnavailable", err)
	}
	if _, err = lost.Clone(t.Context(), "e-1", specOf("anew", "t")); err != nil {
		t.Errorf("once it has begun anew: %v", err)
	}
}

// Where RBD IDs are cut, or the client's number can end anywhere, all beginnings are looked at.
func TestBeginningsOfAClientsIDs(t *testing.T) {
	for _, test := range []struct {
		client string
		want   []string
	}{
		{"4d2", []string{"4d2"}},
		{"abcdef", []string{"abcdef"}},
		{"1abcdef", []string{"1abcdef", "abcdef"}},
		{"12abcdef", []string{"12abcdef", "2abcdef", "abcdef"}},
	} {
		if got := beginnings(test.client); !slices.Equal(got, test.want) {
			t.Errorf("of client %s: %v, want %v", test.client, got, test.want)
		}
	}
}

func TestNamesOfTheDirectoryAreDecoded(t *testing.T) {
	for text, want := range map[string]string{"\x01\x00\x00\x00v": "v", "\x00\x00\x00\x00": ""} {
		if got, ok := decodeName([]byte(text)); !ok || got != want {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "\x01\x00\x00", "\x02\x00\x00\x00v", "\xff\xff\xff\xffv"} {
		if got, ok := decodeName([]byte(text)); ok {
			t.Errorf("%q: %q", text, got)
		}
	}
}
