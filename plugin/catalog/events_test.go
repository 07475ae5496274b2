package catalog

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin/words"
)

// keeping opens a catalog that keeps so many events.
func keeping(t *testing.T, cfg Config, n int, at *clock) *Catalog {
	t.Helper()
	cfg.Now, cfg.MaxEvents = at.now, n
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// details lists the events that a filter selects, in a word each.
func details(t *testing.T, c *Catalog, f EventFilter) []string {
	t.Helper()
	events, err := c.Events(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	last := f.After
	for _, e := range events {
		if e.ID <= last {
			t.Errorf("event %d after %d", e.ID, last)
		}
		last = e.ID
		all = append(all, e.Detail)
	}
	return all
}

// eventIDs are those of all events, which need not be neighbours.
func eventIDs(t *testing.T, c *Catalog) (ids []EventID) {
	t.Helper()
	events, err := c.Events(t.Context(), EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func wantDetails(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestAnEventIsRecordedOnceWithItsRequest(t *testing.T) {
	at := newClock()
	c := keeping(t, anew(t), 100, at)
	event := func(seq int64, detail string) Event { return Event{Seq: seq, Kind: "hit", Detail: detail} }
	is(t, "record", c.Record(t.Context(), "a", 2, nil, event(1, "one"), event(0, "noted"), event(2, "two")), nil)
	is(t, "again, and more", c.Record(t.Context(), "a", 3, nil, event(1, "one"), event(2, "two"), event(3, "three")), nil)
	is(t, "of another host", c.Record(t.Context(), "b", 1, nil, event(1, "b's")), nil)
	wantDetails(t, "events", details(t, c, EventFilter{}), "one", "noted", "two", "three", "b's")
	if err := c.Record(t.Context(), "a", 4, []Request{{Seq: 5}}, event(0, "never")); err == nil {
		t.Error("a sequence above the last one was taken")
	}
	wantDetails(t, "after a refusal", details(t, c, EventFilter{After: eventIDs(t, c)[3]}), "b's")
}

func TestEveryFieldOfAnEventIsKept(t *testing.T) {
	at := newClock()
	c := keeping(t, anew(t), 100, at)
	want := Event{
		At: at.now().Add(-time.Hour), Routine: true, Kind: "k", Backend: "b", ImageID: "i", Entry: "e", Volume: "v",
		Outcome: "o", Reason: "r", Detail: "d", Bytes: 7, Took: 3 * time.Microsecond,
	}
	is(t, "record", c.Record(t.Context(), "a", 0, nil, want, Event{Kind: "bare"}), nil)
	got, err := c.Events(t.Context(), EventFilter{})
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	want.ID = got[0].ID
	if got[0] != want {
		t.Errorf("got  %+v\nwant %+v", got[0], want)
	}
	if got[1].At.Before(want.At) {
		t.Errorf("one without a time happened at %v", got[1].At)
	}
}

func TestEventsAreSelected(t *testing.T) {
	at := newClock()
	c := keeping(t, anew(t), 100, at)
	begun := at.now()
	var all []Event
	for n := range 6 {
		e := Event{At: begun.Add(time.Duration(n) * time.Minute), Kind: "even", Backend: "x", Detail: fmt.Sprint(n)}
		if n%2 == 1 {
			e.Kind = "odd"
		}
		if n >= 3 {
			e.Backend = "y"
		}
		all = append(all, e)
	}
	is(t, "record", c.Record(t.Context(), "a", 0, nil, all...), nil)
	id := eventIDs(t, c)
	for _, test := range []struct {
		name string
		f    EventFilter
		want []string
	}{
		{"all", EventFilter{}, []string{"0", "1", "2", "3", "4", "5"}},
		{"after", EventFilter{After: id[3]}, []string{"4", "5"}},
		{"since", EventFilter{Since: begun.Add(3 * time.Minute)}, []string{"3", "4", "5"}},
		{"backend", EventFilter{Backend: "y"}, []string{"3", "4", "5"}},
		{"kind", EventFilter{Kinds: []words.EventKind{"odd"}}, []string{"1", "3", "5"}},
		{"kinds", EventFilter{Kinds: []words.EventKind{"odd", "even"}, Limit: 2}, []string{"0", "1"}},
		{"all of it", EventFilter{After: id[0], Since: begun.Add(2 * time.Minute), Backend: "x", Kinds: []words.EventKind{"even"}}, []string{"2"}},
		{"none", EventFilter{After: id[5]}, nil},
	} {
		wantDetails(t, test.name, details(t, c, test.f), test.want...)
	}
}

// Neither very many hits nor very many failures push the other ones out, and an ID is never used again.
func TestEventsAreBounded(t *testing.T) {
	at := newClock()
	cfg := anew(t)
	c := keeping(t, cfg, 5, at)
	batch := func(routine bool, from, n int) (events []Event) {
		for i := range n {
			events = append(events, Event{Routine: routine, Detail: fmt.Sprint(routine, from+i)})
		}
		return events
	}
	is(t, "failures", c.Record(t.Context(), "a", 0, nil, batch(false, 0, 2)...), nil)
	for round := range 4 {
		is(t, "hits", c.Record(t.Context(), "a", 0, nil, batch(true, round*100, 100)...), nil)
	}
	wantDetails(t, "after many hits", details(t, c, EventFilter{}), "false 0", "false 1", "true 398", "true 399")
	for i := range 7 {
		is(t, "one more failure", c.Record(t.Context(), "a", 0, nil, batch(false, 2+i, 1)...), nil)
	}
	wantDetails(t, "after many failures", details(t, c, EventFilter{}), "true 398", "true 399", "false 6", "false 7", "false 8")

	events, err := c.Events(t.Context(), EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1].ID
	none := keeping(t, cfg, 0, at)
	is(t, "trim to nothing", none.TrimEvents(t.Context()), nil)
	is(t, "where none are kept", none.Record(t.Context(), "a", 0, nil, batch(false, 0, 1)...), nil)
	wantDetails(t, "none", details(t, none, EventFilter{}))
	is(t, "again", c.Record(t.Context(), "a", 0, nil, batch(false, 9, 1)...), nil)
	wantDetails(t, "later ones", details(t, c, EventFilter{After: last}), "false 9")
}
