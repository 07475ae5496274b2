package catalog

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// A store that gets another ID by a later version keeps all that it has, and is no second store.
func TestWhatAFormerIDHasGoesAlong(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	const now = backends.StoreID("cinder:project:type-id")
	_, err := c.Bind(ctx, Store{ID: "local", Name: "fast", Kind: "cinder"}, "")
	is(t, "bind", err, nil)
	e := mustReady(t, c, spec("k"), 100)
	if e.Store != "local" {
		t.Fatalf("the entry is of %s", e.Store)
	}
	_, err = c.Lend(ctx, Loan{Entry: e.ID, Store: e.Store, ImageVolume: e.ImageVolume, Generation: "g", LentTo: "v"}, time.Hour)
	is(t, "lend", err, nil)
	before, err := c.Held(ctx)
	is(t, "held", err, nil)

	for range 2 { // the second time there is nothing of it left
		_, err := c.Bind(ctx, Store{ID: now, Name: "quick", Kind: "cinder", Former: "local"}, "quick")
		is(t, "bind by another ID", err, nil)
		stores, err := c.Stores(ctx)
		if err != nil || len(stores) != 1 || stores[0].ID != now || !slices.Equal(stores[0].Names, []backends.Name{"fast", "quick"}) {
			t.Errorf("stores: %+v, %v, want %s alone, with both names", stores, err, now)
		}
		got, err := c.Find(ctx, now, e.Domain, e.Key)
		if err != nil || got.ID != e.ID || got.Store != now || !got.Serves() {
			t.Errorf("found: %+v, %v, want %s", got, err, e.ID)
		}
		loans, err := c.Loans(ctx)
		if err != nil || len(loans) != 1 || loans[0].Store != now {
			t.Errorf("loans: %+v, %v", loans, err)
		}
		after, err := c.Held(ctx)
		if err != nil || len(after) != 1 || before["local"].Bytes == 0 || after[now] != before["local"] {
			t.Errorf("held: %+v, %v, want %+v of %s", after, err, before, now)
		}
	}
	_, err = c.Bind(ctx, Store{ID: "other", Name: "other", Kind: "cinder", Former: "never"}, "other")
	is(t, "one that had no other", err, nil)
}

// What is in quarantine goes along, too, however long the IDs are.
func TestWhatIsInQuarantineGoesAlong(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	was := backends.StoreID("cinder:" + strings.Repeat("0", 32) + ":a volume type with a name")
	_, err := c.Bind(ctx, Store{ID: was, Name: "fast", Kind: "cinder"}, "")
	is(t, "bind", err, nil)
	var bad []Entry
	for _, key := range []Key{"k1", "k2"} {
		s := spec(key)
		s.Store = was
		e := mustReady(t, c, s, 100)
		_, err := c.Quarantine(ctx, e.ID, e.ImageVolume, "it differs")
		is(t, "quarantine", err, nil)
		bad = append(bad, e)
	}
	_, err = c.Bind(ctx, Store{ID: "cinder:project:type-id", Name: "fast", Kind: "cinder", Former: was}, "fast")
	is(t, "bind by another ID", err, nil)
	for _, e := range bad {
		got, err := c.Release(ctx, e.ID)
		if err != nil || !got.Serves() || got.Store != "cinder:project:type-id" {
			t.Errorf("released: %+v, %v", got, err)
		}
	}
}

// All that is summed of a store is so under the ID that it has now, added to what is there of the same time.
func TestSumsGoAlongWhole(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	var phases FillPhases
	for i, d := range phases.each() {
		*d = time.Duration(i+1) * time.Millisecond
	}
	worked := func(name string) {
		t.Helper()
		is(t, "request", c.Record(ctx, "a", 0, []Request{{At: at.now(), Backend: backends.Name(name), ImageID: "i", Outcome: "hit", Took: time.Millisecond, SavedBytes: 7}}), nil)
		is(t, "fill", c.RecordFill(ctx, FillRecord{At: at.now(), Store: backends.StoreID(name), ImageID: "i", Took: time.Second, Phases: phases, SourceBytes: 5, WrittenBytes: 6}), nil)
	}
	worked("fast") // before it was bound
	_, err := c.Bind(ctx, Store{ID: "former", Name: "fast", Kind: "cinder"}, "fast")
	is(t, "bind", err, nil)
	worked("fast")
	_, err = c.Bind(ctx, Store{ID: "now", Name: "fast", Kind: "cinder", Former: "former"}, "fast")
	is(t, "bind by another ID", err, nil)

	got, err := c.SumsIn(ctx, Span{})
	is(t, "sums", err, nil)
	for _, d := range phases.each() {
		*d *= 2
	}
	want := FillStat{Store: "fast", ImageID: "i", Fills: 2, Took: 2 * time.Second, Longest: time.Second, Phases: phases, SourceBytes: 10, WrittenBytes: 12}
	if len(got.Fills) != 1 || got.Fills[0] != want {
		t.Errorf("fills: got\n%+v\nwant\n%+v", got.Fills, want)
	}
	requests := RequestStat{Backend: "fast", ImageID: "i", Outcome: "hit", Requests: 2, SavedBytes: 14, Took: 2 * time.Millisecond}
	if len(got.Requests) != 1 || got.Requests[0] != requests {
		t.Errorf("requests: got\n%+v\nwant\n%+v", got.Requests, requests)
	}
	latency := LatencyStat{Backend: "fast", Outcome: "hit", Bucket: BucketOf(time.Millisecond), Requests: 2}
	if len(got.Latencies) != 1 || got.Latencies[0] != latency {
		t.Errorf("times: got\n%+v\nwant\n%+v", got.Latencies, latency)
	}
	left, err := countOf(ctx, c, "fill_stats WHERE store <> 'now'")
	if err != nil || left != 0 {
		t.Errorf("%d rows of fills are left under other names, %v", left, err)
	}
}

func countOf(ctx context.Context, c *Catalog, what string) (n int, err error) {
	err = c.read(ctx, "count", func(t tx) error { return t.row(ctx, "SELECT COUNT(*) FROM "+what).Scan(&n) })
	return n, err
}
