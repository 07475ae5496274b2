package catalog

import (
	"context"
	"testing"
)

// A rule pins what is not pinned, and takes back its own pin alone.
func TestARulePinsBesideAPerson(t *testing.T) {
	c, _ := fresh(t)
	e := mustReady(t, c, spec("a"), 10)
	step := func(what string, do func(context.Context, EntryID) (Entry, error), pinned, byRule bool) {
		t.Helper()
		got, err := do(t.Context(), e.ID)
		if err != nil || got.Pinned != pinned || got.PinnedByRule != byRule {
			t.Errorf("%s: pinned %v, by a rule %v, %v", what, got.Pinned, got.PinnedByRule, err)
		}
	}
	pin := func(ctx context.Context, id EntryID) (Entry, error) { return c.SetPinned(ctx, id, true) }
	unpin := func(ctx context.Context, id EntryID) (Entry, error) { return c.SetPinned(ctx, id, false) }
	step("a rule unpins what is not pinned", c.UnpinByRule, false, false)
	step("a rule pins", c.PinByRule, true, true)
	step("and once more", c.PinByRule, true, true)
	step("and unpins", c.UnpinByRule, false, false)
	step("a person pins", pin, true, false)
	step("a rule pins, too", c.PinByRule, true, false)
	step("and unpins", c.UnpinByRule, true, false)
	step("a person unpins", unpin, false, false)
	step("a rule pins anew", c.PinByRule, true, true)
	step("a person makes it its own", pin, true, false)
}
