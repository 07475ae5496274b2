package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// A name that commands take for an option is no volume's: what deletes it by hand would do something else.
func TestNamesThatLookLikeOptionsAreRefused(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{})
	r.image(t, "a.raw", mib)
	for _, name := range []backends.VolumeName{"-rf", "--help", "-"} {
		_, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:a.raw", Volume: name})
		if !errors.Is(err, backends.ErrBadName) {
			t.Errorf("%s: got %v, want %v", name, err, backends.ErrBadName)
		}
	}
	r.create(t, "library:a.raw", "a-1", 0)
}

// No image is read for a volume that its backend could not make.
func TestANameThatTheBackendCannotUseIsRefusedBeforeAFill(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{})
	r.image(t, "a.raw", mib)
	for _, name := range []backends.VolumeName{"a b", "../v", ".v", "é"} {
		_, err := r.CreateVolume(t.Context(), plugin.Request{Image: "library:a.raw", Volume: name})
		if !errors.Is(err, backends.ErrBadName) {
			t.Errorf("%s: got %v, want %v", name, err, backends.ErrBadName)
		}
	}
	if entries, err := r.Entries(t.Context(), plugin.EntryFilter{}); err != nil || len(entries) > 0 {
		t.Errorf("got entries %+v, %v: want none", entries, err)
	}
}

// What is signed in a reference is shown nowhere, also where its source is not known yet, or nothing is looked up.
func TestASignatureIsNotShown(t *testing.T) {
	r := newRig(t, t.TempDir(), lru.Bounds{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ref := range []string{
		"a.raw?X-Amz-Signature=geheim", "web:a.raw?token=geheim", "http://x.example.org/a.raw?sig=geheim", "web:https://me:geheim@x.example.org/a.raw",
		"web:a.raw?token=geheim\n", "a.raw?token=geheim\x1b", "http://me:geheim@x.example.org/\u202ea",
	} {
		_, err := r.CreateVolume(ended, plugin.Request{Image: ref, Volume: "v"})
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: error = %v", ref, err)
		}
	}
	_, err := r.CreateVolume(t.Context(), plugin.Request{Image: "a.raw", Volume: "v", ImageLocations: []string{"rbd://a/b\x1b/c/snap"}})
	if !errors.Is(err, plugin.ErrBadRequest) {
		t.Errorf("a location that steers terminals: %v, want %v", err, plugin.ErrBadRequest)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := r.CreateVolume(t.Context(), plugin.Request{Image: "web:a.raw?token=geheim", Volume: "v"})
	if shown := fmt.Sprintf("%+v", a); err != nil || a.Reason != plugin.ReasonStopping || strings.Contains(shown, "geheim") {
		t.Errorf("once it is stopping: %s, %v", shown, err)
	}
}
