package catalog

import (
	"testing"
	"time"
)

// After the clock stepped back, what is used or made is still the most recently used, in its order, and
// an entry's last use never goes back; also for a process that opens the catalog afterwards.
func TestLastUsedNeverGoesBack(t *testing.T) {
	at := newClock()
	cfg := anew(t)
	c := open(t, cfg, at.now)
	use := func(c *Catalog, entries ...Entry) {
		t.Helper()
		var requests []Request
		for i, e := range entries {
			requests = append(requests, Request{At: at.now().Add(time.Duration(i) * time.Second), Entry: e.ID, Outcome: "hit"})
		}
		is(t, "record", c.Record(t.Context(), "a", 0, requests), nil)
	}
	first, second := mustReady(t, c, spec("first"), 1), mustReady(t, c, spec("second"), 1)
	use(c, first, second)
	top := mustGet(t, c, second.ID).LastUsedAt
	at.add(-3 * time.Hour)

	third := mustReady(t, c, spec("third"), 1)
	again := open(t, cfg, at.now)
	use(again, second, first)
	fourth := mustReady(t, again, spec("fourth"), 1)
	last := top
	for _, e := range []Entry{third, second, first, fourth} {
		used := mustGet(t, c, e.ID).LastUsedAt
		if !used.After(last) || used.Sub(top) > time.Second {
			t.Errorf("entry of %s: used %v, want soon after %v", e.Key, used, last)
		}
		last = used
	}
	at.add(6 * time.Hour)
	if e := mustReady(t, c, spec("fifth"), 1); !e.LastUsedAt.Equal(at.now()) {
		t.Errorf("once the clock has caught up: used %v, want %v", e.LastUsedAt, at.now())
	}
}

// A use that is counted late keeps its time: it does not go before what was used in the meantime.
func TestAUseThatIsCountedLateKeepsItsTime(t *testing.T) {
	c, at := fresh(t)
	old := mustReady(t, c, spec("old"), 1)
	used := at.add(time.Minute)
	at.add(time.Minute)
	mustReady(t, c, spec("new"), 1)
	is(t, "record", c.Record(t.Context(), "a", 0, []Request{{At: used, Entry: old.ID, Outcome: "hit"}}), nil)
	if got := mustGet(t, c, old.ID).LastUsedAt; !got.Equal(used) {
		t.Errorf("used %v, want %v", got, used)
	}
}
