package plugin_test

import (
	"errors"
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
