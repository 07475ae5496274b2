package plugin

import (
	"testing"

	"github.com/clonecache/clonecache/plugin/catalog"
)

func TestWhatIsEvictedIsNotFoundAgainByWhoReadTheCatalogBefore(t *testing.T) {
	v := newView()
	e := catalog.Entry{ID: "e", Key: "k"}
	found := func(when string, want bool) {
		t.Helper()
		if _, ok := v.find("k"); ok != want {
			t.Errorf("%s: found %t, want %t", when, ok, want)
		}
	}

	reader := v.begin() // has read that the entry is ready
	evictor := v.begin()
	v.remove("e")
	found("once it is removed", false)
	evictor()
	v.add(e, "k")
	found("added by one who read before", false)
	reader()

	later := v.begin() // the eviction came to nothing, and the catalog still has it
	v.add(e, "k", "alias")
	later()
	found("added by one who read after", true)
	if _, ok := v.find("alias"); !ok {
		t.Error("not found by its alias")
	}
}
