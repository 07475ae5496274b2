package catalog

import (
	"context"
	"maps"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

func TestHeldIsWhatTheEntriesAddUpTo(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	mustReady(t, c, spec("ready"), 100)
	detached := mustReady(t, c, spec("detached"), 30)
	_, err := c.BeginEvict(ctx, detached.ID, CauseAdmin)
	is(t, "evict", err, nil)
	is(t, "detach", c.SetDetached(ctx, detached.ID, 1, 30), nil)
	filling := mustFill(t, c, spec("filling"))
	_, err = c.ReserveRoom(ctx, filling.ID, 1, 7, func(Holdings) (map[EntryID]EvictCause, error) { return nil, nil })
	is(t, "reserve", err, nil)
	failed := mustFill(t, c, spec("failed"))
	is(t, "fail", c.FailFill(ctx, failed.ID, 1, Failure{Text: "broken", RetryAfter: failed.CreatedAt}), nil)
	other := spec("other")
	other.Store = "files"
	mustReady(t, c, other, 5)

	got, err := c.Held(ctx)
	want := map[backends.StoreID]Held{
		"local": {Entries: 2, Bytes: 107, Detached: 1, DetachedBytes: 30},
		"files": {Entries: 1, Bytes: 5},
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("held: got %+v, %v, want %+v", got, err, want)
	}
}

func TestMatchGoesByHowAnIDBeginsOrEnds(t *testing.T) {
	c, _ := fresh(t)
	for _, id := range []EntryID{"aa-0-11", "aa-0-22", "ab%0-22", "ab_0-33"} {
		is(t, "adopt", c.Adopt(t.Context(), Entry{ID: id, Store: "local", Key: Key(id)}, ""), nil)
	}
	for _, q := range []struct {
		part  string
		limit int
		want  []EntryID
	}{
		{"aa-0", 10, []EntryID{"aa-0-11", "aa-0-22"}},
		{"aa-0", 1, []EntryID{"aa-0-11"}},
		{"0-22", 10, []EntryID{"aa-0-22", "ab%0-22"}},
		{"0-22", 1, []EntryID{"aa-0-22"}},
		{"AA-0-22", 10, []EntryID{"aa-0-22"}},
		{"%0-22", 10, []EntryID{"ab%0-22"}},
		{"ab_0", 10, []EntryID{"ab_0-33"}},
		{"zaa-0-22", 10, nil},
		{"b__0", 10, nil},
		{"-0-2", 10, nil},
		{"-22", 10, nil},
		{"", 10, nil},
	} {
		got, err := ids(c.Match(context.Background(), q.part, q.limit))
		if err != nil || len(got) != len(q.want) {
			t.Errorf("match %q: got %v, %v, want %v", q.part, got, err, q.want)
			continue
		}
		for i := range got {
			if got[i] != q.want[i] {
				t.Errorf("match %q: got %v, want %v", q.part, got, q.want)
			}
		}
	}
}

func ids(entries []Entry, err error) (all []EntryID, _ error) {
	for _, e := range entries {
		all = append(all, e.ID)
	}
	return all, err
}
