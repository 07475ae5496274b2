package catalog

import (
	"path/filepath"
	"testing"

	"github.com/clonecache/clonecache/plugin/words"
)

// Each class is trimmed by itself: what is missing is counted where the class was trimmed that is asked for, and not what is still
// there of the other one.
func TestDroppedEventsAreCounted(t *testing.T) {
	cfg := inFile(filepath.Join(t.TempDir(), "catalog.db")) // a server may pass over IDs
	cfg.MaxEvents = 10
	c := open(t, cfg, nil)
	ctx := t.Context()
	counts := func(after EventID, routine bool, want int64, to EventID) {
		t.Helper()
		if n, last, err := c.DroppedEvents(ctx, after, routine); err != nil || n != want || last != to {
			t.Errorf("behind %d, routine %t: got %d to %d, %v; want %d to %d", after, routine, n, last, err, want, to)
		}
	}
	add := func(routine bool, n int) {
		t.Helper()
		for range n {
			is(t, "record", c.Record(ctx, "daemon", 0, nil, Event{Kind: words.EventHit, Routine: routine}), nil)
		}
	}
	counts(0, true, 0, 0)
	add(false, 1) // 1
	add(true, 4)  // 2 to 5
	counts(0, true, 0, 0)
	add(true, 6) // 6 to 11: 2 to 6 go
	counts(0, true, 5, 6)
	counts(0, false, 0, 0)
	counts(1, true, 5, 6)
	counts(4, true, 2, 6)
	counts(6, true, 0, 6)
	add(false, 5) // 12 to 16: 1 goes
	counts(0, false, 6, 11)
	counts(0, true, 6, 11)
	counts(11, false, 0, 11)
}

// On every database no fewer are told of than were dropped.
func TestNoDroppedEventIsLeftOut(t *testing.T) {
	cfg := anew(t)
	cfg.MaxEvents = 10
	c := open(t, cfg, newClock().now)
	for n := range 12 {
		is(t, "record", c.Record(t.Context(), "daemon", 0, nil, Event{Kind: words.EventEvicted, Routine: n%2 == 0}), nil)
		dropped, _, err := c.DroppedEvents(t.Context(), 0, true)
		if err != nil || dropped < int64(n-9) {
			t.Errorf("after %d events: %d dropped, %v", n+1, dropped, err)
		}
	}
}
