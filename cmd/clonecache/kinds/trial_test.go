package kinds

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// What a start refuses of stores' identities is found by a trial, whatever kind says them.
func TestATrialRefusesWhatAStartRefuses(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	lock, err := plugin.LockState(state) // makes it
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	ours, err := plugin.CatalogOf(state)
	if err != nil {
		t.Fatal(err)
	}
	is := func(id backends.StoreID, holder backends.CatalogID, places ...string) backends.Belongs {
		return backends.Belongs{Identity: backends.Identity{ID: id, Places: places}, By: backends.Holder{Catalog: holder, Host: "h", StateDir: "/s", Since: time.Unix(0, 0)}}
	}
	for _, c := range []struct {
		name   string
		stores []backends.Belongs
		want   string // in the problem of the last; "": none
	}{
		{"two pools", []backends.Belongs{is("one", ours, "volumes on c"), is("two", "", "volumes on d")}, ""},
		{"a pool by two names", []backends.Belongs{is("one", ours, "volumes on c"), is("one", ours, "volumes on c")}, "s0 and s1 are one store (one)"},
		{"image-volumes in the other's pool", []backends.Belongs{is("one", ours, "a", "c"), is("two", ours, "b", "c")}, "s0 and s1 lie on one place (c)"},
		{"new directories", []backends.Belongs{is("", "", "directory 1 of device 1"), is("", "", "directory 2 of device 1")}, ""},
		{"a new directory by two paths", []backends.Belongs{is("", "", "directory 1 of device 1"), is("", "", "directory 1 of device 1")}, "s0 and s1 lie on one place"},
		{"another installation's", []backends.Belongs{is("one", "other")}, "held by another installation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trial := &Trial{StateDir: state}
			for i, store := range c.stores {
				name := "s" + string(rune('0'+i))
				trial.Part("backend["+name+"]", name).belongs("pool", store, "a pool of its own")
			}
			switch p := trial.Problems; {
			case c.want == "" && len(p) > 0:
				t.Errorf("got %v, want none", p)
			case c.want != "" && (len(p) != 1 || !strings.Contains(p[0].Error(), c.want)):
				t.Errorf("got %v, want %q", p, c.want)
			case c.want != "" && !strings.Contains(p[0].Error(), "of its own"):
				t.Errorf("got %v, want a remedy", p)
			}
		})
	}
}
