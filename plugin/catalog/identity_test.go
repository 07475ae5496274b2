package catalog

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

func TestACatalogKeepsItsFirstID(t *testing.T) {
	c, _ := fresh(t)
	for _, proposed := range []string{"first", "second"} {
		if got, err := c.Identify(t.Context(), backends.CatalogID(proposed)); err != nil || got != "first" {
			t.Errorf("proposed %s: got %q, %v, want first", proposed, got, err)
		}
	}
}

// What older versions wrote under names of the host is the daemon's that has the catalog now, once.
func TestSQLiteInheritsWhatWasWrittenUnderEarlierNames(t *testing.T) {
	c := open(t, inFile(filepath.Join(t.TempDir(), "catalog.db")), newClock().now)
	ctx := t.Context()
	e := mustFill(t, c, spec("k"))
	is(t, "record", c.Record(ctx, "old-name", 5, nil), nil)
	is(t, "record under a later name", c.Record(ctx, "new-name", 7, nil), nil)
	is(t, "inherit", c.Inherit(ctx, "me"), nil)
	if seq, err := c.Applied(ctx, "me"); err != nil || seq != 7 {
		t.Errorf("applied: %d, %v, want 7", seq, err)
	}
	fills, err := c.TakeOver(ctx, Holder{Instance: "me", Incarnation: "2"}, lease)
	if err != nil || len(fills) != 1 || fills[0].ID != e.ID {
		t.Errorf("taken over: %+v, %v, want %s", fills, err, e.ID)
	}
	is(t, "record", c.Record(ctx, "another", 9, nil), nil)
	is(t, "again", c.Inherit(ctx, "me"), nil)
	if seq, err := c.Applied(ctx, "me"); err != nil || seq != 7 {
		t.Errorf("inherited again: %d, %v, want still 7", seq, err)
	}
}
