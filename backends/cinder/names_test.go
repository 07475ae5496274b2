package cinder_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
)

// A name is found whatever it is made of: a repeated request makes no second volume of it, and it may be deleted by it.
func TestANameIsFoundWhateverItIsMadeOf(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	for _, name := range []backends.VolumeName{
		"it's", `back\`, `back\'s`, `tab\t`, `x','clonecache_volume':'mine`, `"quoted"`, "a b", " spaced ", "100%&=+?#/", "{}", "größer",
		backends.VolumeName(strings.Repeat("ü", 255)),
	} {
		r := transferred(string(name))
		r.Transfer = false
		a := (<-ask(t, c, r)).made(t, string(name))
		if b := (<-ask(t, c, r)).made(t, "repeated"); b.VolumeID != a.VolumeID || b.Reason != plugin.ReasonRepeated {
			t.Errorf("%q: got %s and then %s (%s), want one volume", name, a.VolumeID, b.VolumeID, b.Reason)
		}
		is(t, "delete it", c.DeleteVolume(t.Context(), "lvm", name), nil)
	}
	if c.made() != 0 {
		t.Errorf("Cinder has %+v, want no volume still", c.cinder.All())
	}
}

// A name that Cinder takes for no volume is refused before anything is asked for, and says nothing of the backend.
func TestANameThatIsTooLongIsRefused(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	_, err := c.CreateVolume(t.Context(), transferred(strings.Repeat("ü", 256)))
	is(t, "a name of 256 characters", err, backends.ErrBadName)
	if calls := c.cinder.Calls; slices.ContainsFunc(calls, func(call string) bool { return strings.HasPrefix(call, "POST volumes") }) {
		t.Errorf("Cinder was asked for %v", calls)
	}
	if down := c.Unavailable(); len(down) != 0 {
		t.Errorf("%+v do not answer", down)
	}
}
